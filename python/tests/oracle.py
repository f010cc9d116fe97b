"""The reference that everything is compared with: the recurrence and the layer, written plainly in f64, one token after
the other. It shares no code with the package."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(shape: tuple[int, int, int, int], *, seed: int = 0, value: int | None = None) -> list[Tensor]:
    """Ordinary inputs of the rule for `(batch, tokens, heads, width)`: gates between -1 and 0, strengths between 0 and 1,
    a state that is not empty."""
    batch, tokens, heads, width = shape
    value = value or width
    random = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=random, dtype=torch.float64)

    def uniform() -> Tensor:
        return torch.rand(batch, tokens, heads, generator=random, dtype=torch.float64)

    rows = [normal(batch, tokens, heads, size) for size in (width, width, value)]
    return [*rows, -(uniform() ** 3), uniform(), normal(batch, heads, width, value)]


def recurrence(inputs: list[Tensor], scale: float, erase: bool) -> tuple[Tensor, Tensor]:
    """The rule as it is written, in f64."""
    q, k, v, g, beta, state = (tensor.double() for tensor in inputs)
    q, k = (rows / (rows.square().sum(-1, keepdim=True) + 1e-6).sqrt() for rows in (q, k))
    outputs = []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None, None] * state
        held = torch.einsum("bhk,bhkv->bhv", k[:, t], state) if erase else 0
        state = state + torch.einsum("bhk,bhv->bhkv", beta[:, t, :, None] * k[:, t], v[:, t] - held)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state) * scale)
    return torch.stack(outputs, 1), state


def layer(weights: dict[str, Tensor], x: Tensor, *, erase: bool = True, epsilon: float = 1e-6) -> Tensor:
    """The causal output of a layer with these weights for `x [B, N, E]`, in f64."""
    w = {name: tensor.detach().double().cpu() for name, tensor in weights.items()}
    x = x.detach().double().cpu()
    batch, tokens, embed = x.shape
    heads = w["a_log"].shape[0]
    width = embed // heads

    def bias(name: str) -> Tensor | float:
        return w.get(name, 0.0)

    projected = x @ w["in_proj_weight"].T + bias("in_proj_bias")
    q, k, v = (rows.reshape(batch, tokens, heads, width) for rows in projected.split(embed, -1))
    a, b = (x @ w["gate_weight"].T).split(heads, -1)
    g = -w["a_log"].exp() * torch.log1p((a + w["dt_bias"]).exp())
    state = torch.zeros(batch, heads, width, width, dtype=torch.float64)
    output, _ = recurrence([q, k, v, g, 1 / (1 + (-b).exp()), state], width**-0.5, erase)
    normed = output / (output.square().mean(-1, keepdim=True) + epsilon).sqrt() * w["norm_weight"]
    return normed.reshape(batch, tokens, embed) @ w["out_proj.weight"].T + bias("out_proj.bias")


def error(given: Tensor, wanted: Tensor) -> float:
    """Relative error over all numbers."""
    given, wanted = given.detach().double().cpu(), wanted.detach().double().cpu()
    assert given.shape == wanted.shape
    return float((given - wanted).norm() / wanted.norm().clamp(min=1e-15))
