"""The layer that takes the place of `self_attn` in a model of transformers."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from .. import ops
from ..composite import gates, head_norm, init_gates
from ..errors import AttentionMaskError, DistillationError
from ..layer import PRECISE_FROM
from ..state import State
from .cache import liquid_layer

Rotary = Literal["keep", "drop"]

#: Added to the mean square under the root of the norm of every head's output.
NORM_EPSILON = 1e-6


@dataclass
class Patch:
    """What all replaced layers of a model share."""

    #: Whether the model runs before it was distilled.
    force: bool
    #: The mask `[batch, tokens]` of the current call, as the model was given it: 0 where there is padding.
    mask: Tensor | None = None

    def before_call(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Notes the mask of a call of the decoder, which gives its layers another one."""
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
            raise AttentionMaskError
        self.mask = mask


class LiquidAttention(nn.Module):
    """The rule behind the projections of a softmax attention; `LiquidMemory` has the equations.

    The projections (and norms of queries and keys, where the model has them) are the same modules under the same names.
    Parameters beside them: `gate_weight [2 H, E]`, `a_log [H]`, `dt_bias [H]`, `norm_weight [D]`. Keys and values that
    several heads share stay shared: every head has a state of its own. With rotary "keep" queries and keys are rotated
    by their positions as before.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear
    q_norm: nn.Module | None
    k_norm: nn.Module | None

    def __init__(self, attention: Any, patch: Patch, rotary: Rotary) -> None:
        super().__init__()
        self.config: Any = attention.config
        self.layer_idx: int = attention.layer_idx
        self.head_dim: int = attention.head_dim
        self.heads: int = self.config.num_attention_heads
        self.rotary, self.patch = rotary, patch
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"):
            setattr(self, name, getattr(attention, name, None))
        self._rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
        like = self.q_proj.weight
        self.gate_weight = nn.Parameter(like.new_empty(2 * self.heads, like.shape[1]))
        self.a_log, self.dt_bias = (nn.Parameter(like.new_empty(self.heads)) for _ in range(2))
        self.norm_weight = nn.Parameter(like.new_ones(self.head_dim))
        nn.init.kaiming_uniform_(self.gate_weight, a=math.sqrt(5))
        init_gates(self.a_log, self.dt_bias)
        self.train(attention.training)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Reads `hidden_states [B, N, E]` after what `cache` remembers; returns the output, and `None` for weights.

        `attention_mask` is not read: the rule is causal, and padding is known from the model's own mask.

        Raises:
            DistillationError: Outside of training, before the model was distilled.
        """
        if not (self.training or self.patch.force or self.config.liquid_memory["distilled"]):
            raise DistillationError
        q, k, v = self._heads(hidden_states, position_embeddings)
        g, beta = gates(hidden_states, self.gate_weight, self.a_log, self.dt_bias)
        if self.patch.mask is not None:
            padding = self.patch.mask[:, -hidden_states.shape[1] :, None] == 0
            g, beta = g.masked_fill(padding, 0), beta.masked_fill(padding, 0)
        layer = None if cache is None else liquid_layer(cache, self.layer_idx)
        before = None if layer is None else layer.state
        state = self._empty(q, g) if before is None else before
        counts = [count + q.shape[1] for count in state.tokens]
        precise = max(counts) >= PRECISE_FROM
        output, memory = ops.gated_delta(q, k, v, g, beta, state.memory, scale=self.head_dim**-0.5, precise=precise)
        if layer is not None:
            layer.state = State(memory, counts, precise)
        return self.o_proj(head_norm(output, self.norm_weight, NORM_EPSILON)), None

    def _heads(self, x: Tensor, positions: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head, `[B, N, H, D]`."""
        q, k, v = (proj(x).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary == "keep" and positions is not None:
            q, k = self._rotate(q, k, *positions, unsqueeze_dim=2)
        shared = self.heads // k.shape[2]
        return q, k.repeat_interleave(shared, 2), v.repeat_interleave(shared, 2)

    def _empty(self, q: Tensor, g: Tensor) -> State:
        return State(torch.zeros(q.shape[0], self.heads, self.head_dim, self.head_dim, device=q.device, dtype=g.dtype))

    def extra_repr(self) -> str:
        return (
            f"{self.heads} heads of {self.head_dim}, rotary={self.rotary}, distilled={self.config.liquid_memory['distilled']}"
        )
