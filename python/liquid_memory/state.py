"""The memory of a layer: of one size, whatever the sequence's length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .errors import ShapeError


@dataclass
class State:
    """The memory of one layer for a batch of sequences.

    Calls without gradients write into `memory`, so that its address stays; those that record them replace it.
    """

    #: State of the rule, `[B, H, dk, dv]`, f32.
    memory: Tensor
    #: Tokens that each sequence was given, padding included. Replays of a CUDA graph and compiled calls do not count.
    tokens: list[int] = field(default_factory=list)
    #: Whether the last call ran in precise mode.
    precise: bool = False

    def __post_init__(self) -> None:
        if not self.tokens:
            self.tokens = [0] * self.batch

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return self.memory.shape[0]

    @property
    def nbytes(self) -> int:
        """Size on the device, in bytes."""
        return self.memory.nbytes

    def reset(self, sequences: Iterable[int] | None = None) -> None:
        """Resets the named sequences to their beginning, all if none are named, and leaves the others as they are.

        Raises `ShapeError` for a sequence that the batch does not have; then none is reset.
        """
        rows = list(range(self.batch)) if sequences is None else list(sequences)
        for row in rows:
            if not 0 <= row < self.batch:
                raise ShapeError("sequences", row, f"name sequences from 0 to {self.batch - 1}")
        with torch.no_grad():
            # Filled, not multiplied: a state that has become infinite must go too.
            self.memory.index_fill_(0, torch.tensor(rows, device=self.memory.device, dtype=torch.long), 0)
        for row in rows:
            self.tokens[row] = 0

    def clone(self) -> State:
        """A snapshot: a prefix is read once and continued many times."""
        return State(self.memory.clone(), list(self.tokens), self.precise)

    def detach(self) -> State:
        """The same memory without its history: what follows does not train what came before."""
        return State(self.memory.detach(), list(self.tokens), self.precise)
