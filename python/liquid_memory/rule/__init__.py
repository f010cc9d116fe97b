"""The gated delta rule in PyTorch's own operations: on any device, and what the kernels are compared with.

For every sequence and head, with row vectors `q_t, k_t` of `dk` numbers (of unit length), `v_t` of `dv`, a log-gate
`g_t <= 0`, a strength `b_t` in `[0, 1]` and a state `S` of `dk x dv`:

    S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))        erase on:  gated delta rule
    S_t = exp(g_t) S_(t-1) + b_t k_t^T  v_t                                erase off: gated linear attention
    o_t = scale * q_t S_t

Shapes: `q, k [B, N, H, dk]`, `v [B, N, H, dv]`, `g, beta [B, N, H]`, `state [B, H, dk, dv]`. All arithmetic is f32, or
f64 where the inputs are.

A sequence is cut into segments, worked off one after the other, so that memory beyond inputs and output does not grow
with it (`passes`). Within a segment everything that does not depend on the state is computed for all chunks of 64
tokens at once (`chunks`); only the pass of the state from chunk to chunk is a loop. `gradients` walks the segments from
the last to the first.
"""

from .gradients import gated_delta_gradients
from .inputs import CHUNK, SEGMENT, Inputs, Options, saved_states, segments
from .passes import gated_delta
from .step import gated_delta_step

__all__ = [
    "CHUNK",
    "SEGMENT",
    "Inputs",
    "Options",
    "gated_delta",
    "gated_delta_gradients",
    "gated_delta_step",
    "saved_states",
    "segments",
]
