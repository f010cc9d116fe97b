"""Training a patched model to give its original's outputs, in two steps.

1. Align: every replaced layer reads what the original's layer read, and learns to write what that one wrote. The loss is the
   squared error over the square of what is wanted, 1 for a layer that writes zeros. Layers learn independently.
2. Imitate: the whole model learns the original's next-token distribution; the loss is the Kullback-Leibler divergence
   from it, in nats a token. Errors of several layers add up, which the first step cannot see.

Only replaced layers are trained. `python -m liquid_memory distill` does it for a folder and a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import LiquidAttention


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a model is trained."""

    #: Steps of either kind; each reads one batch.
    align_steps: int = 500
    imitate_steps: int = 1000
    #: Peak rate of AdamW for either kind; it rises for a tenth of the steps, then falls to zero along a cosine.
    align_rate: float = 1e-3
    imitate_rate: float = 2e-4


@dataclass
class Losses:
    """The loss of each step."""

    align: list[float] = field(default_factory=list)
    imitate: list[float] = field(default_factory=list)


def distill(
    student: Any,
    teacher: Any,
    batches: Iterator[Tensor],
    recipe: Recipe | None = None,
    *,
    say: Callable[[str], None] = print,
) -> Losses:
    """Trains a patched model in place; `teacher` is the original, `batches` are tokens `[batch, tokens]` without padding.

    Does not mark the model as distilled: measure it first (`divergence`).
    """
    recipe = recipe or Recipe()
    layers = {name: layer for name, layer in student.named_modules() if isinstance(layer, LiquidAttention)}
    for layer in layers.values():
        # Of an earlier call of the model: batches have no padding.
        layer.patch.mask = None
    losses = Losses()
    trained = [parameter for layer in layers.values() for parameter in layer.parameters()]
    with _only(trained, student):

        def align(tokens: Tensor) -> Tensor:
            return align_loss(layers, teacher, tokens)

        def imitate(tokens: Tensor) -> Tensor:
            return divergence(student, teacher, tokens)

        steps = (
            ("align", align, recipe.align_steps, recipe.align_rate, losses.align),
            ("imitate", imitate, recipe.imitate_steps, recipe.imitate_rate, losses.imitate),
        )
        for name, loss, count, rate, into in steps:
            for value in _descend(loss, trained, batches, count, rate):
                into.append(value)
                if len(into) % max(1, count // 10) == 0 or len(into) == 1:
                    say(f"{name} {len(into):>6}  loss {value:.4f}")
    return losses


def align_loss(layers: dict[str, LiquidAttention], teacher: nn.Module, tokens: Tensor) -> Tensor:
    """The mean over `layers` of their relative squared error, on what the teacher's layers of the same names read."""
    read: dict[str, tuple[dict[str, Any], Tensor]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Tensor, Any]) -> None:
            read[name] = (kwargs, output[0])

        return hook

    hooks = [teacher.get_submodule(name).register_forward_hook(note(name), with_kwargs=True) for name in layers]
    try:
        with torch.no_grad():
            teacher(tokens, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    errors = []
    for name, layer in layers.items():
        kwargs, wanted = read[name]
        given = layer(kwargs["hidden_states"], kwargs["position_embeddings"])[0]
        errors.append((given.float() - wanted.float()).square().mean() / wanted.float().square().mean())
    return torch.stack(errors).mean()


def divergence(student: nn.Module, teacher: nn.Module, tokens: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of the student's next-token distribution from the teacher's, in nats a token."""
    with torch.no_grad():
        wanted = teacher(tokens, use_cache=False).logits.float().log_softmax(-1)
    given = student(tokens, use_cache=False).logits.float().log_softmax(-1)
    return F.kl_div(given.flatten(0, 1), wanted.flatten(0, 1), reduction="batchmean", log_target=True)


def _descend(
    loss: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], batches: Iterator[Tensor], steps: int, rate: float
) -> Iterator[float]:
    """Yields the loss of each step."""
    if not steps:
        return
    optimiser = torch.optim.AdamW(parameters, rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    for _ in range(steps):
        value = loss(next(batches))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        yield value.item()


@contextmanager
def _only(trained: list[nn.Parameter], model: nn.Module) -> Iterator[None]:
    """Trains only these parameters of a model; restores it afterwards."""
    was_training = model.training
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    model.train()
    try:
        yield
    finally:
        for parameter, requires in required:
            parameter.requires_grad_(requires)
            parameter.grad = None
        model.train(was_training)
