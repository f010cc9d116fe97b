"""A run of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .._native import VERSION
from ..layer import LiquidMemory
from .meter import Meter
from .peers import Peer, Sizes, Skipped, peers
from .report import LIQUID, STEP, Figure, Report


@torch.no_grad()
def benchmark(
    embed_dim: int = 4096,
    num_heads: int = 32,
    batch_size: int = 1,
    seq_lengths: Sequence[int] = (2048, 8192, 32768, 131072),
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cuda",
    *,
    rounds: int = 7,
    json: str | Path | None = None,
    png: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Report:
    """Measures a causal layer, and a step after it, beside its peers; says each figure as it comes and the table at the
    end, and writes JSON and a picture where they are named."""
    sizes = Sizes(embed_dim, num_heads, batch_size, dtype, torch.device(device))
    meter = Meter(sizes.device, rounds)
    layer = LiquidMemory(embed_dim, num_heads, batch_first=True, device=sizes.device, dtype=dtype).eval()
    others = peers(sizes)
    report = Report(_setting(sizes))

    def take(name: str, x: Tensor, peer: Peer) -> None:
        figure = _measure(meter, name, x, peer)
        report.figures.append(figure)
        what = figure.skipped or f"{figure.ms:.3f} ms, {(figure.memory_bytes or 0) / 2**20:.1f} MiB"
        say(f"{name}, {figure.tokens} tokens: {what}")

    for tokens in seq_lengths:
        x = sizes.numbers(batch_size, tokens, embed_dim)
        take(LIQUID, x, lambda x: lambda: layer(x, x, x, is_causal=True))
        take(STEP, x, lambda x: _step(layer, x))
        for name, peer in others.items():
            take(name, x, peer)
        del x
    say(f"\n{report}")
    if json is not None:
        report.to_json(json)
    if png is not None:
        report.to_png(png)
    return report


def _step(layer: LiquidMemory, x: Tensor) -> Callable[[], object]:
    state, token = layer.new_state(x.shape[0]), x[:, 0].clone()
    layer.prefill(x, state)
    return lambda: layer.step(token, state)


def _measure(meter: Meter, name: str, x: Tensor, peer: Peer) -> Figure:
    tokens = x.shape[1]
    try:
        call = peer(x)
        ms = meter.milliseconds(call)
        return Figure(name, tokens, ms, meter.peak_bytes(call))
    except Skipped as skipped:
        return Figure(name, tokens, skipped=str(skipped))
    except RuntimeError as error:  # A peer that cannot run is a line of the table, not the end of it.
        if name in (LIQUID, STEP):
            raise
        return Figure(name, tokens, skipped=f"{type(error).__name__}: {str(error)[:100]}")


def _setting(sizes: Sizes) -> dict[str, object]:
    on_gpu = sizes.device.type == "cuda"
    return {
        "liquid_memory": VERSION,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(sizes.device) if on_gpu else "cpu",
        "embed_dim": sizes.embed_dim,
        "num_heads": sizes.num_heads,
        "batch_size": sizes.batch_size,
        "dtype": str(sizes.dtype).removeprefix("torch."),
    }
