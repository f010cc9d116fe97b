"""A layer in PyTorch's operations around the rule: what records gradients, and every device without kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .rule.inputs import unit_rows

#: The rule, as `liquid_memory.ops.gated_delta`.
Rule = Callable[..., tuple[Tensor, Tensor]]
#: The parameters of a layer that softmax attention does not have.
OWN = ("gate_weight", "a_log", "dt_bias", "norm_weight")
#: Log-gate at the first token of a sequence that lies behind another: nothing of the state is left, exp(-50) = 2e-22.
FORGOTTEN = -50.0


class LayerTensors(NamedTuple):
    """The weights of a layer; `LiquidMemory` has their shapes."""

    in_weight: Tensor
    in_bias: Tensor | None
    gate_weight: Tensor
    a_log: Tensor
    dt_bias: Tensor
    norm_weight: Tensor
    out_weight: Tensor
    out_bias: Tensor | None


@dataclass(frozen=True)
class LayerOptions:
    """How a layer applies the rule and the norm of its output."""

    epsilon: float
    erase: bool
    precise: bool


def causal(
    x: Tensor,
    state: Tensor,
    weights: LayerTensors,
    options: LayerOptions,
    rule: Rule,
    *,
    padding: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Reads `x [B, N, E]` from `state`; returns the output of every token and the last state. What `padding [B, N]`
    marks changes nothing and gives zeros. Sequences begin at the tokens `starts` too."""
    q, k, v = _heads(x, weights)
    g, beta = gates(x, weights.gate_weight, weights.a_log, weights.dt_bias)
    if padding is not None:
        g, beta = (numbers.masked_fill(padding.unsqueeze(-1), 0) for numbers in (g, beta))
    if starts is not None:
        g = g.index_fill(1, starts, FORGOTTEN)
    scale = float(q.shape[-1]) ** -0.5
    output, last = rule(q, k, v, g, beta, state, scale=scale, erase=options.erase, precise=options.precise)
    return _finish(output, weights, options, padding), last


def whole(x: Tensor, weights: LayerTensors, options: LayerOptions, padding: Tensor | None = None) -> Tensor:
    """Computes the output where every token of `x [B, N, E]` sees every other: a sum over all keys has no order, so there
    is nothing to forget and nothing to erase, `S = sum_i b_i k_i^T v_i` and `o_j = q_j S / sqrt(dk)`."""
    q, k, v = _heads(x, weights)
    beta = gates(x, weights.gate_weight, weights.a_log, weights.dt_bias)[1]
    if padding is not None:
        beta = beta.masked_fill(padding.unsqueeze(-1), 0)
    with torch.autocast(x.device.type, enabled=False):
        wide = beta.dtype
        (queries, _), (keys, _) = unit_rows(q.to(wide)), unit_rows(k.to(wide))
        state = (keys * beta.unsqueeze(-1)).permute(0, 2, 3, 1) @ v.to(wide).transpose(1, 2)
        output = (queries.transpose(1, 2) @ state).transpose(1, 2) * float(q.shape[-1]) ** -0.5
    return _finish(output.to(v.dtype), weights, options, padding)


def _heads(x: Tensor, weights: LayerTensors) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, `[B, N, H, D]`."""
    heads = weights.a_log.shape[0]
    q, k, v = F.linear(x, weights.in_weight, weights.in_bias).unflatten(-1, (3, heads, -1)).unbind(-3)
    return q, k, v


def gates(x: Tensor, gate_weight: Tensor, a_log: Tensor, dt_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Log-gates and strengths `sigmoid(b)`, `[B, N, H]`, f32 or f64."""
    products = F.linear(x, gate_weight)
    a, b = products.to(torch.promote_types(products.dtype, torch.float32)).chunk(2, -1)
    return log_gates(a, a_log, dt_bias), b.sigmoid()


def log_gates(a: Tensor, a_log: Tensor, dt_bias: Tensor) -> Tensor:
    """Log-gates `-exp(a_log) softplus(a + dt_bias)` in the type of `a`, `[B, N, H]`."""
    return -a_log.to(a.dtype).exp() * F.softplus(a + dt_bias.to(a.dtype))


def head_norm(output: Tensor, norm_weight: Tensor, epsilon: float) -> Tensor:
    """Norm of every head's output `[B, N, H, D]`, `[B, N, H D]`."""
    return F.rms_norm(output, (output.shape[-1],), norm_weight.to(output.dtype), epsilon).flatten(-2)


@torch.no_grad()
def init_gates(a_log: Tensor, dt_bias: Tensor) -> None:
    """Fills the parameters of the gates of heads from slow to fast."""
    # At a gate input of 0 the log-gate is -A dt with A from 1 to 16 and dt from 0.001 to 0.1, the ranges that Mamba-2
    # draws from.
    heads, device = a_log.shape[0], a_log.device
    a_log.copy_(torch.linspace(1, 16, heads, device=device).log())
    dt = torch.linspace(math.log(1e-3), math.log(1e-1), heads, device=device).exp()
    # The inverse of softplus.
    dt_bias.copy_(dt + (-torch.expm1(-dt)).log())


def _finish(output: Tensor, weights: LayerTensors, options: LayerOptions, padding: Tensor | None) -> Tensor:
    """Norm of every head's output, and the output projection."""
    normed = head_norm(output, weights.norm_weight, options.epsilon)
    y = F.linear(normed, weights.out_weight, weights.out_bias)
    return y if padding is None else y.masked_fill(padding.unsqueeze(-1), 0)
