"""One token: the recurrence as it is written."""

from __future__ import annotations

from torch import Tensor

from .inputs import Inputs, Options, unit_rows


def gated_delta_step(inputs: Inputs, options: Options) -> tuple[Tensor, Tensor]:
    """Computes the output `[B, 1, H, dv]` and the next state of inputs with one token."""
    token = inputs.segment(0)
    q, k = unit_rows(token.q)[0], unit_rows(token.k)[0]
    decayed = token.g.exp().unsqueeze(-1) * inputs.state.to(inputs.wide)
    news = token.v - k @ decayed if options.erase else token.v
    state = decayed + k.mT @ (token.beta.unsqueeze(-1) * news)
    output = (q @ state * options.scale).transpose(1, 2)
    return output.to(inputs.v.dtype), state
