"""The rule over whole sequences, segment by segment."""

from __future__ import annotations

import torch
from torch import Tensor

from .chunks import output, prepare, scan
from .inputs import Inputs, Options, segments, unfold
from .step import gated_delta_step


def gated_delta(inputs: Inputs, options: Options, save: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the output `[B, N, H, dv]` in the type of `v`, the state after the last token, and with `save` the states
    before every segment and the last, `[segments + 1, B, H, dk, dv]`, which the gradients need."""
    states = [inputs.state.to(inputs.wide)]
    if inputs.tokens == 1:
        result, last = gated_delta_step(inputs, options)
        states.append(last)
    else:
        outputs = []
        for index in range(segments(inputs.tokens)):
            segment = inputs.segment(index)
            chunks = prepare(segment, options)
            passed, last = scan(chunks, states[-1])
            states.append(last)
            outputs.append(unfold(output(chunks, passed), segment.q.shape[2]).to(inputs.v.dtype))
        result = torch.cat(outputs, 1)
    return result, last, torch.stack(states) if save else last.new_empty((0, *last.shape))
