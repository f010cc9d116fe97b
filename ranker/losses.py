"""The loss: is each token evidence, does the window hold evidence, and which windows of a question hold it.

With teachers each target is a mean of what the labels and what the teachers say. Rows whose window is not of the
item's document have no labels, only teachers: nobody marked what that document says to this question.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Batch
from .teachers import Lesson

# Smoothed targets: annotators miss and overshoot.
TARGET_NO, TARGET_YES = 0.02, 0.97
# Share of evidence tokens from which a window counts as holding evidence.
WINDOW_SHARE = 0.05
WINDOW_WEIGHT = 0.1
LISTWISE_WEIGHT = 0.1
# Beyond this distance from the teachers' logits the pull no longer grows.
LARGEST_DISTANCE = 4.0


@dataclass(frozen=True)
class Taught:
    """The teachers' part in the targets of a chunk."""

    lesson: Lesson
    share: Tensor  # [rows] of the targets
    distance_weight: float


@dataclass(frozen=True)
class RowTerms:
    """What the loss needs of each row."""

    token_loss: Tensor  # mean over the window's tokens
    share: Tensor  # of the window's tokens that are evidence
    mean_logit: Tensor
    window_loss: Tensor
    taught_logit: Tensor | None  # the teachers' mean logit


def evidence_labels(batch: Batch, items: Tensor, bounds: Tensor, stride: int) -> Tensor:
    """Returns whether each token is evidence of its row's item; `bounds` are those of `corpus.label_keys`."""
    keys = items[:, None] * stride + batch.position
    return (torch.searchsorted(bounds, keys, right=True) % 2 == 1) & batch.window


def row_terms(
    token_logits: Tensor, window_logits: Tensor, window: Tensor, evidence: Tensor, taught: Taught | None = None
) -> RowTerms:
    """Computes the terms of each row from [rows, tokens] logits, the mask of window tokens, and labels."""
    weight = window / window.sum(1, keepdim=True).clamp(min=1)
    share = (evidence * weight).sum(1)
    token_target = torch.where(evidence, TARGET_YES, TARGET_NO)
    window_target = torch.where(share > WINDOW_SHARE, TARGET_YES, TARGET_NO)
    if taught:
        token_target = token_target.lerp(taught.lesson.token_logits.sigmoid(), taught.share[:, None])
        window_target = window_target.lerp(taught.lesson.window_logits.sigmoid(), taught.share)
    loss = F.binary_cross_entropy_with_logits(token_logits, token_target, reduction="none")
    if taught:
        distance = F.huber_loss(token_logits, taught.lesson.token_logits, reduction="none", delta=LARGEST_DISTANCE)
        loss = loss + taught.distance_weight * distance
    return RowTerms(
        token_loss=(loss * weight).sum(1),
        share=share,
        mean_logit=(token_logits * weight).sum(1),
        window_loss=F.binary_cross_entropy_with_logits(window_logits, window_target, reduction="none"),
        taught_logit=(taught.lesson.token_logits * weight).sum(1) if taught else None,
    )


def total_loss(terms: list[RowTerms], group: Tensor, groups: int, taught_share: float = 0.0) -> Tensor:
    """Returns the loss of a batch; `group` is the group of each row of all chunks, one chunk after the other."""
    token_loss, share, mean_logit, window_loss = (
        torch.cat([getattr(term, name) for term in terms])
        for name in ("token_loss", "share", "mean_logit", "window_loss")
    )
    target = group_shares(share, group, groups)
    taught = [term.taught_logit for term in terms if term.taught_logit is not None]
    if taught:
        target = target.lerp(group_log_softmax(torch.cat(taught), group, groups).exp(), taught_share)
    listwise = -(target * group_log_softmax(mean_logit, group, groups)).sum() / groups
    return token_loss.mean() + WINDOW_WEIGHT * window_loss.mean() + LISTWISE_WEIGHT * listwise


def group_shares(share: Tensor, group: Tensor, groups: int) -> Tensor:
    """Returns each row's part of its group's evidence."""
    evidence = share.new_zeros(groups).index_add(0, group, share).clamp(min=1e-6)
    return share / evidence[group]


def group_log_softmax(logit: Tensor, group: Tensor, groups: int) -> Tensor:
    """Returns the logarithm of the softmax over the rows of each group."""
    largest = logit.new_full((groups,), -torch.inf).scatter_reduce_(0, group, logit.detach(), "amax")
    total = logit.new_zeros(groups).index_add(0, group, (logit - largest[group]).exp())
    return logit - largest[group] - total.log()[group]
