"""The layer: projections, gates, the rule, norm, output, in the place of `nn.MultiheadAttention`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import ops
from .composite import OWN, LayerOptions, LayerTensors, causal, init_gates, whole
from .errors import (
    AttentionMaskError,
    AttentionWeightsError,
    ConfigError,
    CrossAttentionError,
    ShapeError,
    StateError,
)
from .state import State

#: Number of tokens from which `precision="auto"` is precise.
PRECISE_FROM = 65_536

Precision = Literal["auto", "standard", "precise"]


class LiquidMemory(nn.Module):
    """Attention in linear time and constant memory, in the place of `torch.nn.MultiheadAttention`.

    For an input `x_t`, in every head (row vectors):

        q_t, k_t, v_t = x_t W_q, x_t W_k, x_t W_v       q, k of unit length
        g_t = -exp(a_log) softplus(x_t W_a + dt_bias)   log-gate: how much is forgotten
        b_t = sigmoid(x_t W_b)                          strength: how much is written
        S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))
        o_t = q_t S_t / sqrt(dk)
        y_t = [rms_norm(o_t) * norm_weight]_heads W_o

    Parameters, beside `in_proj_weight [3 E, E]`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias` of
    `nn.MultiheadAttention`: `gate_weight [2 H, E]` (`W_a` over `W_b`), `a_log [H]`, `dt_bias [H]`, `norm_weight [D]`.
    A state dict of `nn.MultiheadAttention` loads; such projections were trained for softmax and give garbage until they
    are trained again.

    Args:
        embed_dim: Width of input and output.
        num_heads: Number of heads; divides `embed_dim`.
        bias: Whether the projections of queries, keys, values and output have biases.
        batch_first: Whether inputs are `[batch, tokens, embed_dim]` rather than `[tokens, batch, embed_dim]`.
        device, dtype: Of the parameters.
        erase: Whether what a key already holds is erased before writing (the delta rule); off is gated linear attention.
        precision: When the operands that meet the state keep more digits on a GPU: `"auto"` from 65,536 tokens on,
            `"standard"` never, `"precise"` always.
        norm_epsilon: Added to the mean square under the root of the output's norm.

    The other arguments are those of `nn.MultiheadAttention` that linear attention does not have; they raise
    `ConfigError` unless they have their default.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        erase: bool = True,
        precision: Precision = "auto",
        norm_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        _check(embed_dim, num_heads, precision)
        _refuse_others(dropout, add_bias_kv, add_zero_attn, kdim=kdim, vdim=vdim, embed_dim=embed_dim)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.batch_first, self.dropout = batch_first, 0.0
        self.erase, self.precision, self.norm_epsilon = erase, precision, norm_epsilon
        #: The state that `prefill` and `step` use when none is handed in.
        self.state: State | None = None
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim, **made))
        self.gate_weight = nn.Parameter(torch.empty(2 * num_heads, embed_dim, **made))
        if bias:
            self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim, **made))
        else:
            self.register_parameter("in_proj_bias", None)
        self.a_log = nn.Parameter(torch.empty(num_heads, **made))
        self.dt_bias = nn.Parameter(torch.empty(num_heads, **made))
        self.norm_weight = nn.Parameter(torch.empty(self.head_dim, **made))
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **made)
        self.reset_parameters()
        self._lay_out()

    @property
    def _qkv_same_embed_dim(self) -> bool:
        """`nn.TransformerEncoderLayer` computes softmax attention from the weights by itself unless this says no."""
        return False

    def reset_parameters(self) -> None:
        """Draws new weights: projections as `nn.MultiheadAttention`, gates for heads from slow to fast."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.kaiming_uniform_(self.gate_weight, a=math.sqrt(5))
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                nn.init.zeros_(bias)
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        nn.init.ones_(self.norm_weight)
        init_gates(self.a_log, self.dt_bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Computes attention over whole sequences; returns the output and `None`, where `nn.MultiheadAttention` has
        weights.

        Args:
            query, key, value: One and the same tensor: `[batch, tokens, embed_dim]` with `batch_first`, else
                `[tokens, batch, embed_dim]`; or `[tokens, embed_dim]`.
            key_padding_mask: `[batch, tokens]` (`[tokens]` without batch), true, or minus infinity, where there is padding,
                whose output is 0.
            need_weights, average_attn_weights: As in `nn.MultiheadAttention`; `need_weights=True` raises.
            attn_mask: Taken for the causal mask with `is_causal=True`, and refused otherwise.
            is_causal: Whether a token sees those before it and itself. Without, all see all, in no order.

        Raises:
            AttentionWeightsError, AttentionMaskError, CrossAttentionError: What linear attention cannot give.
            ShapeError: Shapes that do not fit.
        """
        if need_weights:
            raise AttentionWeightsError
        if attn_mask is not None and not is_causal:
            raise AttentionMaskError
        if key is not query or value is not query:
            raise CrossAttentionError
        x = self._by_sequence(query, "query")
        padding = self._padding(key_padding_mask, x)
        if is_causal:
            y = self._causal(x, self.new_state(x.shape[0]), padding)
        else:
            y = whole(x, self._weights(), self._options(0), padding)
        return self._as_given(y, query), None

    def prefill(self, x: Tensor, state: State | None = None, *, key_padding_mask: Tensor | None = None) -> Tensor:
        """Reads `x`, shaped as in `forward`, causally after what `state` remembers, and updates it. Returns the output of
        every token. Two calls return what one call with both inputs returns, up to rounding.

        Without a `state` the module's own is used, which the first call makes.
        """
        rows = self._by_sequence(x, "x")
        state = self._state_for(rows, state)
        return self._as_given(self._causal(rows, state, self._padding(key_padding_mask, rows)), x)

    def step(self, token: Tensor, state: State | None = None) -> Tensor:
        """Reads one token of every sequence, `[batch, embed_dim]`, at the same cost after ten tokens and after ten million."""
        if token.dim() != 2 or token.shape[-1] != self.embed_dim:
            raise ShapeError("token", tuple(token.shape), f"pass [batch, {self.embed_dim}]")
        rows = token.unsqueeze(1)
        return self._causal(rows, self._state_for(rows, state), None).squeeze(1)

    def varlen(self, x: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Computes causal attention over sequences of any lengths that lie behind each other.

        Args:
            x: All tokens, `[tokens, embed_dim]`.
            cu_seqlens: Where each sequence begins, and the number of tokens, `[sequences + 1]`, on the device of `x`.
        """
        if x.dim() != 2 or x.shape[-1] != self.embed_dim:
            raise ShapeError("x", tuple(x.shape), f"pass [tokens, {self.embed_dim}]")
        if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 2:
            raise ShapeError("cu_seqlens", tuple(cu_seqlens.shape), "pass [sequences + 1]")
        rows = x.unsqueeze(0)
        # The log-gate at a sequence's first token forgets what came before; only that of an empty one would lie behind
        # the last token.
        starts = cu_seqlens[:-1].long().clamp(max=x.shape[0] - 1)
        memory = self.new_state(1).memory
        options = self._options(x.shape[0])
        return causal(rows, memory, self._weights(), options, ops.gated_delta, starts=starts)[0].squeeze(0)

    def new_state(self, batch: int) -> State:
        """Makes a state of `batch` sequences that have not begun."""
        wide = torch.promote_types(self.in_proj_weight.dtype, torch.float32)
        shape = (batch, self.num_heads, self.head_dim, self.head_dim)
        return State(torch.zeros(shape, device=self.in_proj_weight.device, dtype=wide))

    def reset_state(self, sequences: Iterable[int] | None = None) -> None:
        """Resets sequences of the module's own state, all if none are named."""
        if self.state is None:
            raise StateError("there is no state to reset; prefill or step makes one")
        self.state.reset(sequences)

    def is_precise(self, tokens: int) -> bool:
        """Whether a call whose sequences have `tokens` behind them at its end runs in precise mode."""
        return self.precision == "precise" or (self.precision == "auto" and tokens >= PRECISE_FROM)

    @staticmethod
    def benchmark(*args: Any, **kwargs: Any) -> Any:
        """Measures a layer beside its peers; `liquid_memory.benchmark.benchmark` has the arguments."""
        from .benchmark import benchmark

        return benchmark(*args, **kwargs)

    def extra_repr(self) -> str:
        precise = f"auto (precise from {PRECISE_FROM:,} tokens)" if self.precision == "auto" else self.precision
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}, erase={self.erase}, precision={precise}"

    def _causal(self, x: Tensor, state: State, padding: Tensor | None) -> Tensor:
        options = self._options(max(state.tokens) + x.shape[1])
        weights = self._weights()
        records = torch.is_grad_enabled() and (
            x.requires_grad or state.memory.requires_grad or any(p.requires_grad for p in self.parameters())
        )
        if records or padding is not None or torch.is_autocast_enabled(x.device.type):
            y, memory = causal(x, state.memory, weights, options, ops.gated_delta, padding=padding)
            if records:
                state.memory = memory
            else:
                state.memory.copy_(memory)
        else:
            y = ops.layer(x, state.memory, *weights, options.epsilon, options.erase, options.precise)
        state.precise = options.precise
        if not torch.compiler.is_compiling():
            state.tokens = [count + x.shape[1] for count in state.tokens]
        return y

    def _options(self, tokens: int) -> LayerOptions:
        return LayerOptions(epsilon=self.norm_epsilon, erase=self.erase, precise=self.is_precise(tokens))

    def _weights(self) -> LayerTensors:
        return LayerTensors(
            in_weight=self.in_proj_weight,
            in_bias=self.in_proj_bias,
            gate_weight=self.gate_weight,
            a_log=self.a_log,
            dt_bias=self.dt_bias,
            norm_weight=self.norm_weight,
            out_weight=self.out_proj.weight,
            out_bias=self.out_proj.bias,
        )

    def _by_sequence(self, x: Tensor, name: str) -> Tensor:
        """The input as `[batch, tokens, embed_dim]`."""
        if x.dim() not in (2, 3) or x.shape[-1] != self.embed_dim or 0 in x.shape:
            order = "[batch, tokens, " if self.batch_first else "[tokens, batch, "
            wanted = f"pass {order}{self.embed_dim}] or [tokens, {self.embed_dim}], none of them 0"
            raise ShapeError(name, tuple(x.shape), wanted)
        if x.dim() == 2:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _as_given(self, y: Tensor, given: Tensor) -> Tensor:
        if given.dim() == 2:
            return y.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1)

    def _padding(self, mask: Tensor | None, x: Tensor) -> Tensor | None:
        """The mask `[batch, tokens]`, true where there is padding."""
        if mask is None:
            return None
        mask = mask.unsqueeze(0) if mask.dim() == 1 else mask
        if mask.shape != x.shape[:2]:
            raise ShapeError("key_padding_mask", tuple(mask.shape), f"pass {tuple(x.shape[:2])}")
        return mask.isneginf() if mask.is_floating_point() else mask.bool()

    def _state_for(self, x: Tensor, state: State | None) -> State:
        """The state that was handed in, or the module's own, if it is one of this layer for such an input."""
        if state is None:
            if self.state is None:
                self.state = self.new_state(x.shape[0])
            state = self.state
        wanted = (x.shape[0], self.num_heads, self.head_dim, self.head_dim)
        if state.memory.shape != wanted or state.memory.device != x.device:
            raise StateError(
                f"a state of {tuple(state.memory.shape)} on {state.memory.device} for an input that needs {wanted} on "
                f"{x.device}; make one with new_state({x.shape[0]}), or set the module's state to None"
            )
        return state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LiquidMemory:
        super()._apply(fn, recurse)
        self._lay_out()
        return self

    def _lay_out(self) -> None:
        """Puts the weights that read the input behind each other on a GPU, so that the kernels read it once for all."""
        first, gates = self.in_proj_weight, self.gate_weight
        plain = type(first) is nn.Parameter and type(gates) is nn.Parameter
        if not plain or not first.is_cuda or first.device != gates.device or first.dtype != gates.dtype:
            return
        if gates.data_ptr() == first.data_ptr() + first.nbytes:
            return
        both = torch.cat((first.detach(), gates.detach()))
        first.data, gates.data = both[: first.shape[0]], both[first.shape[0] :]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        own = [prefix + name for name in OWN]
        softmax = prefix + "in_proj_weight" in state_dict and not any(name in state_dict for name in own)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if softmax:
            for name in own:
                missing_keys.remove(name)
            warnings.warn(
                f"{prefix or 'the layer '}has projections of softmax attention now: train it before use", stacklevel=2
            )


def _check(embed_dim: int, num_heads: int, precision: str) -> None:
    if embed_dim < 1 or num_heads < 1:
        raise ConfigError("embed_dim, num_heads", (embed_dim, num_heads), "both must be at least 1")
    if embed_dim % num_heads:
        raise ConfigError("num_heads", num_heads, f"must divide embed_dim = {embed_dim}")
    if precision not in ("auto", "standard", "precise"):
        raise ConfigError("precision", repr(precision), 'choose "auto", "standard" or "precise"')


def _refuse_others(
    dropout: float, add_bias_kv: bool, add_zero_attn: bool, *, kdim: int | None, vdim: int | None, embed_dim: int
) -> None:
    """Refuses what `nn.MultiheadAttention` has and this layer does not."""
    if dropout:
        raise ConfigError("dropout", dropout, "there are no weights to drop; put nn.Dropout behind the layer")
    if add_bias_kv or add_zero_attn:
        raise ConfigError("add_bias_kv, add_zero_attn", True, "there is no softmax to add a key to; leave them False")
    for name, width in (("kdim", kdim), ("vdim", vdim)):
        if width not in (None, embed_dim):
            raise ConfigError(name, width, f"keys and values are those of the queries' sequence, {embed_dim} wide")
