"""The inputs of the rule, and how they are cut into segments and chunks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Tokens of a chunk: within one the work is dense products, from one to the next only the state passes.
CHUNK = 64
#: Tokens of a segment: a compromise between memory and the number of operations.
SEGMENT = 32 * CHUNK
#: Added to the squared norm of a query or key.
KEY_EPSILON = 1e-6


@dataclass(frozen=True)
class Options:
    """How the rule is applied. `scale` is the factor on the output; without `erase` the rule is plain gated addition."""

    scale: float
    erase: bool = True


@dataclass(frozen=True)
class Inputs:
    """What the rule reads; `liquid_memory.rule` has the shapes."""

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    beta: Tensor
    state: Tensor

    @property
    def tokens(self) -> int:
        return self.q.shape[1]

    @property
    def wide(self) -> torch.dtype:
        """Type of the arithmetic."""
        return torch.promote_types(self.v.dtype, torch.float32)

    def segment(self, index: int) -> Inputs:
        """The tokens of a segment, `[B, H, n, ..]`, in the type of the arithmetic, without the state."""
        at = slice(index * SEGMENT, (index + 1) * SEGMENT)

        def part(rows: Tensor) -> Tensor:
            return rows[:, at].to(self.wide).transpose(1, 2)

        return Inputs(part(self.q), part(self.k), part(self.v), part(self.g), part(self.beta), self.state)


def segments(tokens: int) -> int:
    """How many segments so many tokens make."""
    return (tokens + SEGMENT - 1) // SEGMENT


def saved_states(tokens: int) -> int:
    """How many states a pass saves for its gradients: those before its segments, and the last, which they do not read. A
    size that is never 1 lets a traced length be any."""
    return segments(tokens) + 1


def fold(rows: Tensor) -> Tensor:
    """Reshapes `[B, H, n, D]` to `[B, H, chunks, CHUNK, D]`; tokens that the last chunk lacks are zeros, which change
    nothing."""
    missing = -rows.shape[2] % CHUNK
    if missing:
        rows = torch.nn.functional.pad(rows, (0, 0, 0, missing))
    return rows.unflatten(2, (-1, CHUNK))


def unfold(chunks: Tensor, tokens: int) -> Tensor:
    """Reshapes `[B, H, chunks, CHUNK, D]` to `[B, tokens, H, D]`, without what was added to fill the last chunk."""
    return chunks.flatten(2, 3)[:, :, :tokens].transpose(1, 2)


def unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Divides rows by their norm; returns the factor too."""
    factor = rows.square().sum(-1, keepdim=True).add(KEY_EPSILON).rsqrt()
    return rows * factor, factor
