"""Gradients of the rule. Segments are walked from the last to the first; each is prepared and scanned again from the
state that was saved before it, so memory does not grow with the sequence.

In the names of `chunks`, with `dO` given and `dS'` coming from the chunk to the right:

    dVn = P^T dO + Kd dS'          dS = e^(G_C) dS' + Qd^T dO - W^T dVn
    dP  = tril(dO Vn^T)            dQd = dO S^T         dKd = Vn dS'^T         dW = -dVn S^T
    dQ  = diag(e^G) dQd + (dP * D) K
    dK  = diag(D_C) dKd + (dP * D)^T Q
    dT  = dVn (diag(b) V)^T + dW (diag(b e^G) K)^T
    dM  = strict_tril(-T^T dT T^T)
    d(bV) = T^T dVn                d(b e^G K) = T^T dW

A log-gate `g_t` is part of every `D_ij` with `j < t <= i` and of every `e^(G_i)` with `t <= i`, so its gradient sums
`dD * D` over those `i, j`, and `de^G * e^G` over those `i`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .chunks import Chunks, Erase, Passed, prepare, scan
from .inputs import SEGMENT, Inputs, Options, fold, segments, unfold


def gated_delta_gradients(inputs: Inputs, saved: Tensor, by_output: Tensor, by_state: Tensor, options: Options) -> Inputs:
    """Computes the gradients with respect to all inputs, in their types, given the `saved` states of the forward pass
    and the gradients with respect to the output and to the last state. `inputs.state` is not read."""
    by_state = by_state.to(inputs.wide)
    parts = []
    for index in reversed(range(segments(inputs.tokens))):
        segment = inputs.segment(index)
        at = slice(index * SEGMENT, (index + 1) * SEGMENT)
        chunks = prepare(segment, options)
        passed, _ = scan(chunks, saved[index])
        given = fold(by_output[:, at].to(inputs.wide).transpose(1, 2))
        part, by_state = _segment(chunks, passed, given, by_state, options)
        parts.append([unfold(rows, segment.q.shape[2]) for rows in part])
    q, k, v, g, beta = (torch.cat(rows, 1) for rows in zip(*reversed(parts), strict=True))
    return Inputs(
        q=q.to(inputs.q.dtype),
        k=k.to(inputs.k.dtype),
        v=v.to(inputs.v.dtype),
        g=g.squeeze(-1).to(inputs.g.dtype),
        beta=beta.squeeze(-1).to(inputs.beta.dtype),
        state=by_state,
    )


@dataclass(frozen=True)
class _Shared:
    """Gradients to which both the output and the erasing contribute: with respect to keys, to the exponents of `D` and
    of `e^G`, to the strengths where they do not weigh values, and to `diag(b) V`."""

    k: Tensor
    decay: Tensor
    start: Tensor
    beta: Tensor | float
    bv: Tensor


def _segment(
    chunks: Chunks, passed: Passed, by_output: Tensor, by_state: Tensor, options: Options
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Computes the gradients of a segment's tokens, chunk by chunk, and of the state before it."""
    by_news, after, before = _pass(chunks, by_output, by_state)
    by_p = (by_output @ passed.news.mT).tril()
    by_qd, by_kd = by_output @ passed.before.mT, passed.news @ after.mT
    by_scores = by_p * chunks.decay
    by_q = chunks.from_start * by_qd + by_scores @ chunks.k
    last = torch.zeros_like(chunks.beta)
    last[..., -1, :] = 1
    by_whole = (passed.before * after).sum((-2, -1), keepdim=True) * chunks.whole
    shared = _Shared(
        k=chunks.to_end * by_kd + by_scores.mT @ chunks.q,
        decay=by_p * chunks.p + (by_kd * chunks.kd).sum(-1, keepdim=True).mT * last,
        start=(by_qd * chunks.qd).sum(-1, keepdim=True) + by_whole * last,
        beta=0.0,
        bv=by_news,
    )
    if chunks.erase is not None:
        shared = _erased(chunks, chunks.erase, passed, by_news, shared)
    rows = (
        _by_given(chunks.q / options.scale, by_q * options.scale, chunks.q_factor),
        _by_given(chunks.k, shared.k, chunks.k_factor),
        chunks.beta * shared.bv,
        _by_gate(shared),
        (shared.bv * chunks.v).sum(-1, keepdim=True) + shared.beta,
    )
    return rows, before


def _pass(chunks: Chunks, by_output: Tensor, by_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the reverse scan: gradients with respect to `Vn`, to the state after each chunk, and to the state before the
    first."""
    direct, read = (chunks.p.mT @ by_output).unbind(2), (chunks.qd.mT @ by_output).unbind(2)
    kept, written = chunks.whole.unbind(2), chunks.kd.unbind(2)
    erased = chunks.erase.w.mT.unbind(2) if chunks.erase is not None else None
    by_news, after = [], []
    for index in reversed(range(len(direct))):
        by_new = direct[index] + written[index] @ by_state
        by_news.append(by_new)
        after.append(by_state)
        by_state = kept[index] * by_state + read[index]
        if erased is not None:
            by_state = by_state - erased[index] @ by_new
    return torch.stack(by_news[::-1], 2), torch.stack(after[::-1], 2), by_state


def _erased(chunks: Chunks, erase: Erase, passed: Passed, by_news: Tensor, rest: _Shared) -> _Shared:
    """Adds what comes through `U`, `W` and the triangular factor."""
    by_w = -by_news @ passed.before.mT
    by_t = by_news @ (chunks.beta * chunks.v).mT + by_w @ erase.bk.mT
    by_m = (-(erase.t.mT @ by_t @ erase.t.mT)).tril(-1)
    by_bk = erase.t.mT @ by_w
    by_overlap = by_m * chunks.decay
    x = by_overlap @ chunks.k
    y = by_overlap.mT @ (chunks.beta * chunks.k)
    return replace(
        rest,
        k=rest.k + chunks.beta * (chunks.from_start * by_bk + x) + y,
        decay=rest.decay + by_m * erase.m,
        start=rest.start + (by_bk * erase.bk).sum(-1, keepdim=True),
        beta=(by_bk * chunks.from_start * chunks.k).sum(-1, keepdim=True) + (x * chunks.k).sum(-1, keepdim=True),
        bv=erase.t.mT @ by_news,
    )


def _by_given(unit: Tensor, gradient: Tensor, factor: Tensor) -> Tensor:
    """The gradient with respect to rows as they were given, from that with respect to the rows of unit length."""
    return factor * (gradient - unit * (unit * gradient).sum(-1, keepdim=True))


def _by_gate(shared: _Shared) -> Tensor:
    """The gradient with respect to the log-gates: `sum_(j < t <= i) decay_ij + sum_(t <= i) start_i`."""

    def from_here(rows: Tensor) -> Tensor:
        return rows.flip(-2).cumsum(-2).flip(-2)

    return from_here(shared.decay).tril(-1).sum(-1, keepdim=True) + from_here(shared.start)
