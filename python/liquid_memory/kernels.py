"""The kernels for NVIDIA GPUs of compute capability 9.0 (H100, H200): what they serve, and calls of them.

Memory comes from PyTorch's allocator, work goes to PyTorch's current stream, nothing is copied and nothing waits. The
first call of a kernel compiles it, a second or so, and keeps it on disk: in `LIQUID_MEMORY_CACHE`, or
`$XDG_CACHE_HOME/liquid-memory/kernels`. With `LIQUID_MEMORY_REQUIRE_SIGNATURE` no kernel runs that this public key has not
signed, and none is kept on disk.
"""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from . import _native
from .composite import LayerOptions, LayerTensors
from .rule import saved_states

#: Folder of the installed package, which a signature is for.
PACKAGE = Path(__file__).parent
#: Compute capability of the chips whose instructions the kernels use.
CAPABILITY = (9, 0)
#: Widths of heads that there are kernels for, and those that have kernels for gradients.
WIDTHS, GRADIENT_WIDTHS = (64, 128, 256), (64, 128)


def serves(rows: Tensor, key_width: int, value_width: int, *, gradients: bool = False) -> bool:
    """Whether there are kernels for heads of these widths, in the type and on the device of `rows`; a warning says once
    why not."""
    widths = GRADIENT_WIDTHS if gradients else WIDTHS
    if rows.dtype != torch.bfloat16 or not rows.is_cuda:
        return False
    if key_width != value_width or key_width not in widths:
        _warn(f"heads of {key_width} and {value_width} numbers, where kernels take {widths} for both")
        return False
    why_not = unavailable(rows.get_device())
    if why_not is not None:
        _warn(why_not)
        return False
    return True


@functools.cache
def unavailable(device: int) -> str | None:
    """Why no kernels run on a GPU; `None` if they do. Raises `SignatureError` where a signature is required and wrong."""
    capability = torch.cuda.get_device_capability(device)
    if capability != CAPABILITY:
        major, minor = capability
        return f"compute capability {major}.{minor}, where kernels need 9.0 (H100, H200)"
    for library in _libraries():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    missing = _native.missing_library()
    if missing is not None:
        return f"{missing} cannot be loaded; install nvidia-cuda-nvrtc and nvidia-cublas"
    _native.require_signature(PACKAGE)
    _native.keep_kernels_in(cache_folder())
    return None


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    named = os.environ.get("LIQUID_MEMORY_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liquid-memory" / "kernels"


def _libraries() -> Iterator[Path]:
    """NVRTC as PyTorch's packages bring it, which the loader does not find by itself. cuBLASLt is loaded already."""
    version = (torch.version.cuda or "").split(".")[0]
    packages = Path(torch.__file__).parent.parent / "nvidia"
    for folder in (packages / f"cu{version}" / "lib", packages / "cuda_nvrtc" / "lib"):
        file = folder / f"libnvrtc.so.{version}"
        if file.exists():
            yield file
            return


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(f"liquid_memory runs in PyTorch's own operations: {reason}", stacklevel=4)


def _place(tensor: Tensor) -> dict[str, int]:
    """A GPU, and PyTorch's current stream on it."""
    device = tensor.get_device()
    # As the code that torch.compile writes asks for it: without making an object.
    return {"device": device, "stream": torch._C._cuda_getCurrentRawStream(device)}


def _bytes(like: Tensor, count: int) -> Tensor:
    return torch.empty(count, dtype=torch.uint8, device=like.device)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _row_stride(rows: Tensor) -> int | None:
    """Elements between the rows of two tokens of `[B, N, H, D]`, if kernels can read it as it lies."""
    batch, tokens, heads, width = rows.shape
    by_batch, by_token, by_head, by_number = rows.stride()
    dense = heads * width
    stride = by_token if tokens > 1 else by_batch if batch > 1 else dense
    in_heads = (heads == 1 or by_head == width) and by_number == 1
    in_batch = batch == 1 or tokens == 1 or by_batch == tokens * by_token
    fits = in_heads and in_batch and stride >= dense and stride % 8 == 0 and rows.data_ptr() % 16 == 0
    return stride if fits else None


def _readable(rows: Tensor) -> tuple[Tensor, int]:
    """The rows as kernels can read them, and their stride."""
    stride = _row_stride(rows)
    if stride is not None:
        return rows, stride
    return rows.contiguous(), rows.shape[2] * rows.shape[3]


def _sizes(v: Tensor) -> dict[str, int]:
    batch, tokens, heads, width = v.shape
    return {"batch": batch, "tokens": tokens, "heads": heads, "width": width}


def gated_delta(
    rows: tuple[Tensor, Tensor, Tensor],
    gates: tuple[Tensor, Tensor],
    state: Tensor,
    *,
    scale: float,
    erase: bool,
    precise: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the rule over `rows` (q, k, v) with `gates` (g, beta, f32); as `liquid_memory.rule.gated_delta`."""
    v, state = rows[2], state.contiguous()
    sizes = _sizes(v)
    kept = saved_states(sizes["tokens"]) if save else 0
    output, last = torch.empty_like(v, memory_format=torch.contiguous_format), torch.empty_like(state)
    saved = state.new_empty((kept, *state.shape))
    work = _bytes(v, _native.rule_work(sizes, save))
    forward, _kept = _forward(rows, gates, scale=scale, erase=erase)
    forward |= {
        "initial": state.data_ptr(),
        "output": output.data_ptr(),
        "last": last.data_ptr(),
        "saved": saved.data_ptr() if save else 0,
        "work": work.data_ptr(),
        "precise": precise,
    }
    _native.gated_delta(_place(v), forward)
    if save:
        saved[-1].copy_(last)  # which gradients do not read; but an operation's results are the same each time
    return output, last, saved


def gated_delta_backward(
    rows: tuple[Tensor, Tensor, Tensor],
    gates: tuple[Tensor, Tensor],
    saved: Tensor,
    given: tuple[Tensor, Tensor],
    *,
    scale: float,
    erase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Computes the gradients of the rule, `given` those by the output and by the last state."""
    by_output, by_last = (tensor.contiguous() for tensor in given)
    by_rows = [torch.empty_like(by_output) for _ in rows]
    by_gates = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in gates]
    by_initial = torch.empty_like(by_last)
    work = _bytes(by_output, _native.gradient_work(_sizes(by_output)))
    forward, _kept = _forward(rows, gates, scale=scale, erase=erase)
    # What a pass reads before its first token, and writes, is not touched by one backwards.
    forward |= {
        "initial": 0,
        "output": by_output.data_ptr(),
        "last": 0,
        "saved": saved.data_ptr(),
        "work": work.data_ptr(),
        "precise": False,
    }
    gradients = {
        "by_output": by_output.data_ptr(),
        "by_last": by_last.data_ptr(),
        "by_q": by_rows[0].data_ptr(),
        "by_k": by_rows[1].data_ptr(),
        "by_v": by_rows[2].data_ptr(),
        "by_g": by_gates[0].data_ptr(),
        "by_beta": by_gates[1].data_ptr(),
        "by_initial": by_initial.data_ptr(),
    }
    _native.gated_delta_backward(_place(by_output), forward, gradients)
    return by_rows[0], by_rows[1], by_rows[2], by_gates[0], by_gates[1], by_initial


def _forward(
    rows: tuple[Tensor, Tensor, Tensor], gates: tuple[Tensor, Tensor], *, scale: float, erase: bool
) -> tuple[dict[str, object], list[Tensor]]:
    """What both passes are told, and the tensors that must live until it is enqueued."""
    (q, q_stride), (k, k_stride), (v, v_stride) = (_readable(tensor) for tensor in rows)
    g, beta = (tensor.contiguous() for tensor in gates)
    told: dict[str, object] = {
        "sizes": _sizes(v),
        "q": q.data_ptr(),
        "q_stride": q_stride,
        "k": k.data_ptr(),
        "k_stride": k_stride,
        "v": v.data_ptr(),
        "v_stride": v_stride,
        "g": g.data_ptr(),
        "beta": beta.data_ptr(),
        "scale": scale,
        "erase": erase,
    }
    return told, [q, k, v, g, beta]


def serves_layer(x: Tensor, state: Tensor, weights: LayerTensors) -> bool:
    """Whether a layer with these weights runs as one pass over `x [B, N, E]`: all of one type, without gaps, at addresses
    of 16 bytes."""
    embed, width = x.shape[-1], state.shape[-1]
    # Rows of products begin at multiples of 16 bytes.
    if embed % 8 or not state.is_contiguous() or not serves(x, width, width):
        return False
    large = (x, weights.in_weight, weights.in_bias, weights.gate_weight, weights.out_weight, weights.out_bias)
    small = (weights.a_log, weights.dt_bias, weights.norm_weight)
    return all(
        tensor is None or (tensor.dtype is x.dtype and tensor.is_contiguous() and not tensor.data_ptr() % 16)
        for tensor in large
    ) and all(tensor.is_contiguous() for tensor in small)


def layer(x: Tensor, state: Tensor, weights: LayerTensors, options: LayerOptions) -> Tensor:
    """Runs a layer over `x [B, N, E]` from `state`, which is replaced."""
    batch, tokens, embed = x.shape
    _, heads, width, _ = state.shape
    sizes = {"batch": batch, "tokens": tokens, "embed": embed, "heads": heads, "width": width}
    y, work = torch.empty_like(x), _bytes(x, _native.layer_work(sizes))
    told = {
        "sizes": sizes,
        "x": x.data_ptr(),
        "state": state.data_ptr(),
        "y": y.data_ptr(),
        "work": work.data_ptr(),
        "in_weight": weights.in_weight.data_ptr(),
        "in_bias": _address(weights.in_bias),
        "gate_weight": weights.gate_weight.data_ptr(),
        "a_log": weights.a_log.data_ptr(),
        "a_log_narrow": weights.a_log.dtype is torch.bfloat16,
        "dt_bias": weights.dt_bias.data_ptr(),
        "dt_bias_narrow": weights.dt_bias.dtype is torch.bfloat16,
        "norm_weight": weights.norm_weight.data_ptr(),
        "norm_weight_narrow": weights.norm_weight.dtype is torch.bfloat16,
        "out_weight": weights.out_weight.data_ptr(),
        "out_bias": _address(weights.out_bias),
        "epsilon": options.epsilon,
        "scale": float(width) ** -0.5,
        "erase": options.erase,
        "precise": options.precise,
    }
    _native.layer(_place(x), told)
    return y
