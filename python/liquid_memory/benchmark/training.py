"""A training step: forward, and gradients by the input and all parameters, beside flash-linear-attention's rule between
the same projections (which has neither gates of its own nor a norm)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layer import LiquidMemory
from .peers import Sizes, fla_call

#: Steps before the first that counts, and steps that count.
WARM, STEPS = 3, 9


def training(
    embed_dim: int = 4096,
    num_heads: int = 32,
    batch_size: int = 1,
    seq_lengths: Sequence[int] = (8192, 32768),
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cuda",
    *,
    say: Callable[[str], None] = print,
) -> None:
    """Measures steps on a GPU; says the median time of forward, backward and both, and the peak of memory."""
    sizes = Sizes(embed_dim, num_heads, batch_size, dtype, torch.device(device))
    layer = LiquidMemory(embed_dim, num_heads, batch_first=True, device=sizes.device, dtype=dtype)
    for tokens in seq_lengths:
        x = sizes.numbers(batch_size, tokens, embed_dim).requires_grad_()
        parameters = list(layer.parameters())
        say(_line("LiquidMemory", tokens, partial(_causal, layer, x), [x, *parameters]))
        try:
            call, leaves = _fla(sizes, x)
            say(_line("fla gated delta rule", tokens, call, leaves))
        except (ImportError, RuntimeError) as error:
            say(f"fla gated delta rule: {type(error).__name__}: {str(error)[:200]}")


def _causal(layer: LiquidMemory, x: Tensor) -> Tensor:
    return layer(x, x, x, is_causal=True)[0]


def _fla(sizes: Sizes, x: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    shape = (*x.shape[:2], sizes.num_heads)
    weights = [(sizes.numbers(x.shape[-1], x.shape[-1]) * 0.015).requires_grad_() for _ in range(4)]
    gates = F.logsigmoid(torch.randn(shape, device=x.device) + 2).requires_grad_()
    strengths = torch.rand(shape, device=x.device, dtype=x.dtype).requires_grad_()
    return fla_call(weights, x, gates, strengths), [x, *weights, gates, strengths]


def _line(name: str, tokens: int, call: Callable[[], Tensor], leaves: list[Tensor]) -> str:
    by_output = torch.randn_like(call())
    times = []
    for _ in range(WARM + STEPS):
        for leaf in leaves:
            leaf.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        start, between, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        start.record()
        y = call()
        between.record()
        y.backward(by_output)
        end.record()
        torch.cuda.synchronize()
        times.append((start.elapsed_time(end), start.elapsed_time(between), between.elapsed_time(end)))
        peak = torch.cuda.max_memory_allocated() - before
        del y
    step, forward, backward = (median(column) for column in zip(*times[WARM:], strict=True))
    return (
        f"{name}, {tokens} tokens: step {step:.2f} ms, forward {forward:.2f}, backward {backward:.2f}, "
        f"peak {peak / 2**30:.2f} GiB"
    )
