"""The rule over whole sequences, segment by segment."""

from __future__ import annotations

import torch
from torch import Tensor

from .chunks import output, prepare, scan
from .inputs import Inputs, Options, segments, unfold
from .step import gated_delta_step


def gated_delta(inputs: Inputs, options: Options, save: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the output `[B, N, H, dv]` in the type of `v`, the state after the last token, and with `save` the states
    before every segment, `[segments, B, H, dk, dv]`, which the gradients need."""
    state = inputs.state.to(inputs.wide)
    nothing = state.new_empty((0, *state.shape))
    if inputs.tokens == 1:
        given = state
        result, state = gated_delta_step(inputs, options)
        return result, state, given.unsqueeze(0).clone() if save else nothing
    outputs, saved = [], []
    for index in range(segments(inputs.tokens)):
        segment = inputs.segment(index)
        saved.append(state)
        chunks = prepare(segment, options)
        passed, state = scan(chunks, state)
        outputs.append(unfold(output(chunks, passed), segment.q.shape[2]).to(inputs.v.dtype))
    return torch.cat(outputs, 1), state, torch.stack(saved) if save else nothing
