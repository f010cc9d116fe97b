"""What can be computed of a chunk before its state is known, for all chunks of a segment at once.

With `G_i` the sum of the log-gates of a chunk up to token `i`, `D_ij = exp(G_i - G_j)` for `j <= i` and 0 above:

    M = strict_tril(diag(b) K K^T * D)      T = (I + M)^-1
    U = T diag(b) V                         W = T diag(b e^G) K
    P = tril(Q K^T * D)                     Qd = diag(e^G) Q            Kd = diag(e^(G_C - G)) K
    Vn = U - W S                            S' = e^(G_C) S + Kd^T Vn    O = Qd S + P Vn
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .inputs import CHUNK, Inputs, Options, fold, unit_rows


@dataclass(frozen=True)
class Erase:
    """The part that only the delta rule has."""

    m: Tensor
    t: Tensor
    bk: Tensor
    w: Tensor


@dataclass(frozen=True)
class Chunks:
    """The chunks of a segment, `[B, H, chunks, ..]`, in the names of the module's documentation."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    decay: Tensor
    from_start: Tensor
    to_end: Tensor
    p: Tensor
    qd: Tensor
    kd: Tensor
    u: Tensor
    erase: Erase | None
    q_factor: Tensor
    k_factor: Tensor

    @property
    def whole(self) -> Tensor:
        """`e^(G_C)`, `[B, H, chunks, 1, 1]`."""
        return self.from_start[..., -1:, :]


def prepare(segment: Inputs, options: Options) -> Chunks:
    """Computes everything that does not depend on the state."""
    (q, q_factor), (k, k_factor) = unit_rows(fold(segment.q)), unit_rows(fold(segment.k))
    q, v = q * options.scale, fold(segment.v)
    g, beta = fold(segment.g.unsqueeze(-1)), fold(segment.beta.unsqueeze(-1))
    # Sums of the gates between two tokens, added up for each pair: a difference of long sums would lose digits.
    decay = (g * _strict(g)).cumsum(-2).exp().tril()
    from_start = g.cumsum(-2).exp()
    to_end = decay[..., -1, :].unsqueeze(-1)
    erase = _erase(k, beta, decay, from_start) if options.erase else None
    bv = beta * v
    return Chunks(
        q=q,
        k=k,
        v=v,
        beta=beta,
        decay=decay,
        from_start=from_start,
        to_end=to_end,
        p=q @ k.mT * decay,
        qd=from_start * q,
        kd=to_end * k,
        u=bv if erase is None else erase.t @ bv,
        erase=erase,
        q_factor=q_factor,
        k_factor=k_factor,
    )


def _strict(like: Tensor) -> Tensor:
    """Ones below the diagonal, `[CHUNK, CHUNK]`."""
    return torch.ones(CHUNK, CHUNK, dtype=like.dtype, device=like.device).tril(-1)


def _erase(k: Tensor, beta: Tensor, decay: Tensor, from_start: Tensor) -> Erase:
    m = (beta * (k @ k.mT) * decay).tril(-1)
    identity = torch.eye(CHUNK, dtype=m.dtype, device=m.device)
    # Forward substitution: a product of powers of M would cancel where keys are alike.
    t = torch.linalg.solve_triangular(m + identity, identity.expand_as(m), upper=False, unitriangular=True)
    bk = beta * from_start * k
    return Erase(m=m, t=t, bk=bk, w=t @ bk)


@dataclass(frozen=True)
class Passed:
    """What the pass of the state leaves in each chunk: the state before it, and its new values `Vn`."""

    before: Tensor
    news: Tensor


def scan(chunks: Chunks, state: Tensor) -> tuple[Passed, Tensor]:
    """Walks the chunks from `state [B, H, dk, dv]`; returns the last state too."""
    before, news = [], []
    kept, written = chunks.whole.unbind(2), chunks.kd.mT.unbind(2)
    erased = chunks.erase.w.unbind(2) if chunks.erase is not None else None
    for index, new in enumerate(chunks.u.unbind(2)):
        if erased is not None:
            new = new - erased[index] @ state
        before.append(state)
        news.append(new)
        state = kept[index] * state + written[index] @ new
    return Passed(torch.stack(before, 2), torch.stack(news, 2)), state


def output(chunks: Chunks, passed: Passed) -> Tensor:
    """Computes the output of every chunk, `[B, H, chunks, CHUNK, dv]`."""
    return chunks.qd @ passed.before + chunks.p @ passed.news
