"""The block of a Transformer that tests compile and train."""

from __future__ import annotations

import torch
from torch import nn

from liquid_memory import LiquidMemory

EMBED, HEADS = 32, 4


class Block(nn.Module):
    """A block with the line swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = LiquidMemory(EMBED, HEADS, batch_first=True)
        self.before, self.after = nn.LayerNorm(EMBED), nn.LayerNorm(EMBED)
        self.mlp = nn.Sequential(nn.Linear(EMBED, 2 * EMBED), nn.GELU(), nn.Linear(2 * EMBED, EMBED))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.before(x)
        x = x + self.attn(h, h, h, is_causal=True)[0]
        return x + self.mlp(self.after(x))
