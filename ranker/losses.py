"""The loss: is each token evidence, does the window hold evidence, and which windows of a question hold it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Batch

# Smoothed targets: annotators miss and overshoot.
TARGET_NO, TARGET_YES = 0.02, 0.97
# Share of evidence tokens from which a window counts as holding evidence.
WINDOW_SHARE = 0.05
WINDOW_WEIGHT = 0.1
LISTWISE_WEIGHT = 0.1


@dataclass(frozen=True)
class RowTerms:
    """What the loss needs of each row."""

    token_loss: Tensor  # mean over the window's tokens
    share: Tensor  # of the window's tokens that are evidence
    mean_logit: Tensor
    window_logit: Tensor


def evidence_labels(batch: Batch, items: Tensor, bounds: Tensor, stride: int) -> Tensor:
    """Returns whether each token is evidence of its row's item; `bounds` are those of `corpus.label_keys`."""
    keys = items[:, None] * stride + batch.position
    return (torch.searchsorted(bounds, keys, right=True) % 2 == 1) & batch.window


def row_terms(token_logits: Tensor, window_logits: Tensor, window: Tensor, evidence: Tensor) -> RowTerms:
    """Computes the terms of each row from [rows, tokens] logits, the mask of window tokens, and labels."""
    weight = window / window.sum(1, keepdim=True).clamp(min=1)
    target = torch.where(evidence, TARGET_YES, TARGET_NO)
    loss = F.binary_cross_entropy_with_logits(token_logits, target, reduction="none")
    return RowTerms((loss * weight).sum(1), (evidence * weight).sum(1), (token_logits * weight).sum(1), window_logits)


def total_loss(terms: list[RowTerms], group: Tensor, groups: int) -> Tensor:
    """Returns the loss of a batch; `group` is the group of each row of all chunks, one chunk after the other."""
    token_loss, share, mean_logit, window_logit = (
        torch.cat([getattr(term, name) for term in terms])
        for name in ("token_loss", "share", "mean_logit", "window_logit")
    )
    holds = torch.where(share > WINDOW_SHARE, TARGET_YES, TARGET_NO)
    window_loss = F.binary_cross_entropy_with_logits(window_logit, holds)
    listwise = listwise_loss(mean_logit, share, group, groups)
    return token_loss.mean() + WINDOW_WEIGHT * window_loss + LISTWISE_WEIGHT * listwise


def listwise_loss(logit: Tensor, share: Tensor, group: Tensor, groups: int) -> Tensor:
    """Returns the mean over groups of the cross entropy between the shares of evidence and softmax(logit)."""
    zeros = logit.new_zeros(groups)
    largest = logit.new_full((groups,), -torch.inf).scatter_reduce_(0, group, logit.detach(), "amax")
    total = zeros.index_add(0, group, (logit - largest[group]).exp())
    log_share = logit - largest[group] - total.log()[group]
    evidence = zeros.index_add(0, group, share).clamp(min=1e-6)
    return -(share / evidence[group] * log_share).sum() / groups
