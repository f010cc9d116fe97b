"""What a layer is measured beside, each with the same four projections."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Name of the peer whose figures are the columns TX.
TRANSFORMER = "nn.MultiheadAttention"


@dataclass(frozen=True)
class Sizes:
    """What all peers have in common."""

    embed_dim: int
    num_heads: int
    batch_size: int
    dtype: torch.dtype
    device: torch.device

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device, dtype=self.dtype)


class Skipped(Exception):
    """Why a peer has no figure."""


#: Makes the call for an input `[batch, tokens, embed_dim]`.
Peer = Callable[[Tensor], Callable[[], object]]


def peers(sizes: Sizes) -> dict[str, Peer]:
    """The peers by name; one that is not installed raises `Skipped` when it is asked for a call."""
    softmax = nn.MultiheadAttention(
        sizes.embed_dim, sizes.num_heads, batch_first=True, device=sizes.device, dtype=sizes.dtype
    ).eval()
    # What it calls its fast path computes and keeps all scores; without, it goes through scaled_dot_product_attention.
    torch.backends.mha.set_fastpath_enabled(False)
    weights = [sizes.numbers(sizes.embed_dim, sizes.embed_dim) * sizes.embed_dim**-0.5 for _ in range(4)]
    return {
        TRANSFORMER: lambda x: _transformer(softmax, x),
        "scaled_dot_product_attention": lambda x: _sdpa(sizes, weights, x),
        "fla gated delta rule": lambda x: _fla(sizes, weights, x),
        "the four projections alone": lambda x: lambda: [x @ weight for weight in weights],
    }


def _transformer(softmax: nn.MultiheadAttention, x: Tensor) -> Callable[[], object]:
    # It asks for a mask, which `is_causal` says it need not read: one number stands for it.
    mask = torch.zeros((), dtype=x.dtype, device=x.device).expand(x.shape[1], x.shape[1])

    def call() -> Tensor:
        return softmax(x, x, x, attn_mask=mask, need_weights=False, is_causal=True)[0]

    return call


def _sdpa(sizes: Sizes, weights: list[Tensor], x: Tensor) -> Callable[[], object]:
    def call() -> Tensor:
        q, k, v = ((x @ weight).unflatten(-1, (sizes.num_heads, -1)).transpose(1, 2) for weight in weights[:3])
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2) @ weights[3]

    return call


def _fla(sizes: Sizes, weights: list[Tensor], x: Tensor) -> Callable[[], object]:
    if not x.is_cuda:
        raise Skipped("it needs a GPU")
    batch, tokens, _ = x.shape
    g = F.logsigmoid(torch.randn(batch, tokens, sizes.num_heads, device=x.device))
    beta = torch.rand(batch, tokens, sizes.num_heads, device=x.device, dtype=x.dtype)
    try:
        return fla_call(weights, x, g, beta)
    except ImportError as error:
        raise Skipped(f"pip install flash-linear-attention ({error})") from error


def fla_call(weights: list[Tensor], x: Tensor, g: Tensor, beta: Tensor) -> Callable[[], Tensor]:
    """Makes the call of flash-linear-attention's rule between four projections of `x`, with gates and strengths
    `[batch, tokens, heads]`; `ImportError` where it is not installed."""
    rule = importlib.import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule

    def call() -> Tensor:
        q, k, v = ((x @ weight).unflatten(-1, (g.shape[-1], -1)) for weight in weights[:3])
        output: Tensor = rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)[0]
        return output.flatten(2) @ weights[3]

    return call
