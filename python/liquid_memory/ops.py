"""The package's operations as PyTorch knows them: `torch.ops.liquid_memory`.

| operation | what |
|---|---|
| `gated_delta` | the rule; with gradients if `save` |
| `gated_delta_backward` | its gradients |
| `layer` | a whole layer without gradients, which replaces its state |

Each has an implementation for all devices in PyTorch's operations, one with kernels for CUDA, and a description of its
results for tracing (`torch.compile`, `torch.export`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import kernels, rule
from .composite import LayerOptions, LayerTensors, causal
from .rule import Inputs, Options

_LIBRARY = torch.library.Library("liquid_memory", "DEF")
_EVERYWHERE = "CompositeExplicitAutograd"

_LIBRARY.define(
    "gated_delta(Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, Tensor state, "
    "float scale, bool erase, bool precise, bool save) -> (Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "gated_delta_backward(Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, Tensor saved, "
    "Tensor by_output, Tensor by_state, float scale, bool erase) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    "layer(Tensor x, Tensor(a!) state, Tensor in_weight, Tensor? in_bias, Tensor gate_weight, Tensor a_log, "
    "Tensor dt_bias, Tensor norm_weight, Tensor out_weight, Tensor? out_bias, "
    "float epsilon, bool erase, bool precise) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def gated_delta(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor,
    *, scale: float, erase: bool = True, precise: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Runs the gated delta rule, with gradients where they are recorded; `liquid_memory.rule` has equations and shapes.
    `g`, `beta` and `state` are f32 (f64 where `v` is). Returns the output in the type of `v`, and the last state."""
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, g, beta, state))
    output, last, _ = torch.ops.liquid_memory.gated_delta(q, k, v, g, beta, state, scale, erase, precise, save)
    return output, last


@torch.library.impl(_LIBRARY, "gated_delta", _EVERYWHERE)
def _gated_delta(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor,
    scale: float, erase: bool, precise: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return rule.gated_delta(Inputs(q, k, v, g, beta, state), Options(scale, erase), save)


@torch.library.impl(_LIBRARY, "gated_delta", "CUDA")
def _gated_delta_cuda(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor,
    scale: float, erase: bool, precise: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if not (q.dtype == k.dtype == v.dtype and kernels.serves(v, q.shape[-1], v.shape[-1])):
        return _gated_delta(q, k, v, g, beta, state, scale, erase, precise, save)
    return kernels.gated_delta(
        (q, k, v), (g.float(), beta.float()), state.float(), scale=scale, erase=erase, precise=precise, save=save
    )


@torch.library.register_fake("liquid_memory::gated_delta", lib=_LIBRARY)
def _gated_delta_fake(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor,
    scale: float, erase: bool, precise: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    wide = torch.promote_types(v.dtype, torch.float32)
    kept = rule.saved_states(v.shape[1]) if save else 0
    return (
        v.new_empty(v.shape),
        state.new_empty(state.shape, dtype=wide),
        state.new_empty((kept, *state.shape), dtype=wide),
    )


@torch.library.impl(_LIBRARY, "gated_delta_backward", _EVERYWHERE)
def _gated_delta_backward(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, saved: Tensor, by_output: Tensor, by_state: Tensor,
    scale: float, erase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    inputs = Inputs(q, k, v, g, beta, by_state)
    by = rule.gated_delta_gradients(inputs, saved, by_output, by_state, Options(scale, erase))
    return by.q, by.k, by.v, by.g, by.beta, by.state


@torch.library.impl(_LIBRARY, "gated_delta_backward", "CUDA")
def _gated_delta_backward_cuda(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, saved: Tensor, by_output: Tensor, by_state: Tensor,
    scale: float, erase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    if not (q.dtype == k.dtype == v.dtype and kernels.serves(v, q.shape[-1], v.shape[-1], gradients=True)):
        return _gated_delta_backward(q, k, v, g, beta, saved, by_output, by_state, scale, erase)
    by = kernels.gated_delta_backward(
        (q, k, v), (g.float(), beta.float()), saved, (by_output, by_state), scale=scale, erase=erase
    )
    return *by[:3], by[3].to(g.dtype), by[4].to(beta.dtype), by[5]


@torch.library.register_fake("liquid_memory::gated_delta_backward", lib=_LIBRARY)
def _gated_delta_backward_fake(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, saved: Tensor, by_output: Tensor, by_state: Tensor,
    scale: float, erase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    by_q, by_k, by_v, by_g, by_beta = (tensor.new_empty(tensor.shape) for tensor in (q, k, v, g, beta))
    return by_q, by_k, by_v, by_g, by_beta, by_state.new_empty(by_state.shape, dtype=saved.dtype)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    q, k, v, g, beta, _, ctx.scale, ctx.erase, _, ctx.saves = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, g, beta, output[2])


def _backward(ctx: Any, by_output: Tensor | None, by_state: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    if not ctx.saves:
        raise RuntimeError("gated_delta was called with save=False; pass save=True where gradients are wanted")
    q, k, v, g, beta, saved = ctx.saved_tensors
    if by_output is None:
        by_output = v.new_zeros(v.shape)
    if by_state is None:
        by_state = saved.new_zeros(saved.shape[1:])
    by = torch.ops.liquid_memory.gated_delta_backward(q, k, v, g, beta, saved, by_output, by_state, ctx.scale, ctx.erase)
    return *by, None, None, None, None


torch.library.register_autograd("liquid_memory::gated_delta", _backward, setup_context=_save, lib=_LIBRARY)


@torch.library.impl(_LIBRARY, "layer", _EVERYWHERE)
def _layer(
    x: Tensor, state: Tensor, in_weight: Tensor, in_bias: Tensor | None, gate_weight: Tensor, a_log: Tensor,
    dt_bias: Tensor, norm_weight: Tensor, out_weight: Tensor, out_bias: Tensor | None,
    epsilon: float, erase: bool, precise: bool,
) -> Tensor:  # fmt: skip
    weights = LayerTensors(in_weight, in_bias, gate_weight, a_log, dt_bias, norm_weight, out_weight, out_bias)
    options = LayerOptions(epsilon=epsilon, erase=erase, precise=precise)
    dense = x.contiguous()
    if x.is_cuda and kernels.serves_layer(dense, state, weights):
        return kernels.layer(dense, state, weights, options)
    y, last = causal(x, state, weights, options, gated_delta)
    state.copy_(last)
    return y


@torch.library.register_fake("liquid_memory::layer", lib=_LIBRARY)
def _layer_fake(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


#: A whole layer without gradients. Named with its overload, which saves the search for it at each step.
layer = torch.ops.liquid_memory.layer.default
