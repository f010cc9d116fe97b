"""Qwen3.5 and Qwen3-Next: their layers of gated delta rule on this package's kernels."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache

from .. import ops
from ..composite import log_gates
from ..errors import ConfigError, UnsupportedError
from ..layer import PRECISE_FROM

#: The layers that can be accelerated.
KINDS = ("Qwen3NextGatedDeltaNet", "Qwen3_5GatedDeltaNet", "Qwen3_5MoeGatedDeltaNet")


def accelerate(model: Any) -> int:
    """Runs the linear attention of a Qwen3.5 or Qwen3-Next model on this package, in place; returns the number of layers.

    Weights, caches and results are the model's own, up to rounding. On a GPU without kernels, and on other devices, the
    rule is computed in PyTorch's operations.

    Raises:
        ConfigError: The model has no such layer.
    """
    layers = [module for module in model.modules() if type(module).__name__ in KINDS]
    if not layers:
        raise ConfigError("model", type(model).__name__, f"has no layer of the kinds {', '.join(KINDS)}")
    for layer in layers:
        kind: Any = type(layer)
        if kind.forward is not forward:
            layer.__class__ = _accelerated(kind)
    return len(layers)


@functools.cache
def _accelerated(kind: Any) -> Any:
    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def forward(
    self: Any, hidden_states: Tensor, cache: Cache | None = None, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor:
    """The layer's `forward`, with the rule of this package."""
    if kwargs.get("cu_seq_lens_q") is not None or kwargs.get("seq_idx") is not None:
        raise UnsupportedError("cu_seq_lens_q", "accelerated layers read one sequence a row", "pass padded rows")
    x = hidden_states if attention_mask is None else (hidden_states * attention_mask[:, :, None]).to(hidden_states.dtype)
    # Before the convolution's state is written: what a cache says of both then is that there is one.
    state = None if cache is None else cache.get_recurrent_state(self.layer_idx)
    mixed, z, a, b = _project(self, x)
    q, k, v = _convolve(self, mixed, cache).split((self.key_dim, self.key_dim, self.value_dim), -1)
    q, k = (rows.unflatten(-1, (-1, self.head_k_dim)) for rows in (q, k))
    v = v.unflatten(-1, (-1, self.head_v_dim))
    shared = self.num_v_heads // self.num_k_heads
    q, k = (rows.repeat_interleave(shared, 2) for rows in (q, k))
    g = log_gates(a.float(), self.A_log, self.dt_bias)
    if state is None:
        state = torch.zeros(
            v.shape[0], self.num_v_heads, self.head_k_dim, self.head_v_dim, device=v.device, dtype=torch.float32
        )
    scale, precise = self.head_k_dim**-0.5, _is_precise(v.shape[1], cache)
    output, last = ops.gated_delta(q, k, v, g, b.sigmoid().float(), state.float(), scale=scale, precise=precise)
    if cache is not None:
        cache.update_recurrent_state(last, self.layer_idx)
    normed = self.norm(output.reshape(-1, self.head_v_dim), z.reshape(-1, self.head_v_dim))
    return self.out_proj(normed.reshape(*v.shape[:2], -1))


def _project(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is convolved `[B, N, C]`, the output's gate `z`, and the inputs `a` and `b` of the rule's gates."""
    if hasattr(layer, "in_proj_qkvz"):
        products = layer.fix_query_key_value_ordering(layer.in_proj_qkvz(x), layer.in_proj_ba(x))
        q, k, v, z, b, a = products
        return torch.cat([rows.flatten(2) for rows in (q, k, v)], -1), z, a, b
    return layer.in_proj_qkv(x), layer.in_proj_z(x), layer.in_proj_a(x), layer.in_proj_b(x)


def _convolve(layer: Any, mixed: Tensor, cache: Cache | None) -> Tensor:
    """The short causal convolution over `[B, N, C]`, after what the cache holds of earlier tokens."""
    tokens, width = mixed.shape[1], layer.conv_kernel_size
    rows = mixed.transpose(1, 2)
    if cache is not None:
        rows = cache.update_conv_state(rows, layer.layer_idx, conv_kernel_size=width)
    rows = rows[..., -(tokens + width - 1) :]
    rows = F.pad(rows, (tokens + width - 1 - rows.shape[-1], 0))
    weight = layer.conv1d.weight
    output = F.conv1d(rows.to(weight.dtype), weight, layer.conv1d.bias, groups=weight.shape[0])
    return ACT2FN[layer.activation](output).to(mixed.dtype).transpose(1, 2)


def _is_precise(tokens: int, cache: Cache | None) -> bool:
    """Whether the sequence is so long that the operands that meet the state keep more digits."""
    if tokens >= PRECISE_FROM or cache is None or all(cache.is_linear):
        return tokens >= PRECISE_FROM
    return cache.get_seq_length() + tokens >= PRECISE_FROM
