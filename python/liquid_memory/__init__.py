"""Attention in linear time and constant memory for PyTorch.

from liquid_memory import LiquidMemory

self.attn = LiquidMemory(d_model, n_heads, batch_first=True)     # was: nn.MultiheadAttention(...)
y, _ = self.attn(x, x, x, is_causal=True)
"""

from . import ops, rule
from ._native import VERSION as __version__
from ._native import KernelError, SignatureError
from .errors import (
    AttentionMaskError,
    AttentionWeightsError,
    ConfigError,
    CrossAttentionError,
    DistillationError,
    LiquidMemoryError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from .layer import PRECISE_FROM, LiquidMemory
from .state import State

__all__ = [
    "PRECISE_FROM",
    "AttentionMaskError",
    "AttentionWeightsError",
    "ConfigError",
    "CrossAttentionError",
    "DistillationError",
    "KernelError",
    "LiquidMemory",
    "LiquidMemoryError",
    "ShapeError",
    "SignatureError",
    "State",
    "StateError",
    "UnsupportedError",
    "__version__",
    "ops",
    "rule",
]
