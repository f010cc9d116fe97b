"""Frozen rankers that a smaller one learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import weights
from .model import Ranker
from .rows import Batch


@dataclass(frozen=True)
class Lesson:
    """What the teachers say of a batch: the means of their logits."""

    token_logits: Tensor  # [rows, width]
    window_logits: Tensor  # [rows]


class Teachers:
    """Models of any number of layers, run in bf16 without dropout and gradients; the heads in f32."""

    def __init__(self, paths: Sequence[Path], device: torch.device) -> None:
        self._models = [freeze(Ranker.from_state(weights.read(path)), device) for path in paths]

    def __len__(self) -> int:
        return len(self._models)

    @torch.no_grad()
    def teach(self, batch: Batch) -> Lesson:
        """Runs all teachers on a batch."""
        logits = [model(batch.ids, batch.types, batch.mask) for model in self._models]
        tokens, windows = (torch.stack([pair[part] for pair in logits]).mean(0) for part in (0, 1))
        return Lesson(tokens, windows)


def freeze(model: Ranker, device: torch.device) -> Ranker:
    """Makes a model a teacher."""
    model.to(device, torch.bfloat16).eval().requires_grad_(False)
    for head in (model.token_head, model.window_head):
        head.float()
    return model
