"""AdamW, the learning rate by time, and the moving average of the weights."""

import torch
from torch import nn

from .model import Ranker

WEIGHT_DECAY = 0.01
LARGEST_GRADIENT_NORM = 1.0
WARM_UP = 0.05  # share of the time
LAST_RATE = 0.01  # share of the highest learning rate that is left at the end
AVERAGE_DECAY = 0.998


def make_optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """Returns AdamW; vectors do not decay."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def learning_rate(highest: float, progress: float) -> float:
    """Returns the rate at a share `progress` of the time: a linear rise, then a linear fall."""
    if progress < WARM_UP:
        return highest * (0.02 + 0.98 * progress / WARM_UP)
    return highest * max(LAST_RATE, (1 - progress) / (1 - WARM_UP))


class Average:
    """Exponential moving average of a model's weights; young averages forget faster."""

    def __init__(self, model: Ranker) -> None:
        self._weights = [parameter.detach().clone() for parameter in model.parameters()]
        self._steps = 0

    @torch.no_grad()
    def update(self, model: Ranker) -> None:
        """Takes in the model's weights after a step."""
        self._steps += 1
        decay = min(AVERAGE_DECAY, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._weights, [parameter.detach() for parameter in model.parameters()], 1 - decay)

    @torch.no_grad()
    def swap(self, model: Ranker) -> None:
        """Exchanges the model's weights with the averages; a second call undoes it."""
        for parameter, average in zip(model.parameters(), self._weights, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
