"""Losses against sums written out."""

import math

import numpy as np
import pytest
import torch

from ranker.corpus import Corpus, label_keys
from ranker.losses import (
    LISTWISE_WEIGHT,
    WINDOW_WEIGHT,
    Taught,
    evidence_labels,
    group_log_softmax,
    row_terms,
    total_loss,
)
from ranker.rows import Chunk, DeviceRows, Rows, TokenStore
from ranker.teachers import Lesson


def cross_entropy(logit: float, target: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -(target * math.log(probability) + (1 - target) * math.log(1 - probability))


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_the_total_is_the_sum_of_its_terms(share: float) -> None:
    """Row 3 is taught alone if there are teachers; the others by the share."""
    rng = np.random.default_rng(3)
    logits, window_logits = rng.normal(0, 2, (5, 7)), rng.normal(0, 2, 5)
    row_share = np.array([share, share, share, 1.0 if share else 0.0, share])
    distance_weight = 0.1 if share else 0.0
    window = np.array([[0, 0] + [1] * length + [0] * (5 - length) for length in (5, 3, 1, 4, 2)], bool)
    evidence = window & (rng.random((5, 7)) < 0.5)
    evidence[2:4] = False
    taught, taught_windows = rng.normal(0, 4, (5, 7)), rng.normal(0, 2, 5)
    group = np.array([0, 1, 0, 1, 0])
    token_loss, window_loss, means, taught_means, shares = [], [], [], [], []
    for row in range(5):
        inside = np.flatnonzero(window[row])
        mixed = row_share[row]
        losses = []
        for at in inside:
            label = 0.97 if evidence[row, at] else 0.02
            target = (1 - mixed) * label + mixed * sigmoid(taught[row, at])
            far = abs(logits[row, at] - taught[row, at])
            pull = far**2 / 2 if far <= 4 else 4 * (far - 2)
            losses.append(cross_entropy(logits[row, at], target) + distance_weight * pull)
        token_loss.append(np.mean(losses))
        shares.append(evidence[row, inside].mean())
        means.append(logits[row, inside].mean())
        taught_means.append(taught[row, inside].mean())
        label = 0.97 if shares[-1] > 0.05 else 0.02
        target = (1 - mixed) * label + mixed * sigmoid(taught_windows[row])
        window_loss.append(cross_entropy(window_logits[row], target))
    listwise = []
    for number in range(2):
        members = np.flatnonzero(group == number)
        total, taught_total = (sum(math.exp(of[row]) for row in members) for of in (means, taught_means))
        sum_of_shares = sum(shares[row] for row in members)
        targets = {
            row: (1 - share) * shares[row] / sum_of_shares + share * math.exp(taught_means[row]) / taught_total
            for row in members
        }
        listwise.append(-sum(targets[row] * math.log(math.exp(means[row]) / total) for row in members))
    expected = np.mean(token_loss) + WINDOW_WEIGHT * np.mean(window_loss) + LISTWISE_WEIGHT * np.mean(listwise)
    tensors = [torch.from_numpy(array) for array in (np.float32(logits), np.float32(window_logits), window, evidence)]
    lesson = [torch.from_numpy(np.float32(array)) for array in (taught, taught_windows, row_share)]
    terms = []
    for part in (slice(0, 2), slice(2, 5)):
        said = Taught(Lesson(lesson[0][part], lesson[1][part]), lesson[2][part], distance_weight) if share else None
        token_logits, of_window, mask, marked = (tensor[part] for tensor in tensors)
        terms.append(row_terms(token_logits, of_window, mask, marked, said))
    assert total_loss(terms, torch.from_numpy(group), 2, share).item() == pytest.approx(expected, rel=1e-5)


def test_the_softmax_of_a_group_bears_large_logits() -> None:
    logit = torch.tensor([900.0, -900.0, 5.0], requires_grad=True)
    shares = group_log_softmax(logit, torch.tensor([0, 0, 1]), 2)
    assert shares.tolist() == [0, -1800, 0]
    shares[[0, 2]].sum().backward()
    assert logit.grad is not None and torch.isfinite(logit.grad).all()


def test_labels_are_the_tokens_of_the_spans(toy_corpus: Corpus) -> None:
    prepared = toy_corpus.prepared
    stride = len(prepared.tokens)
    items = np.repeat(np.arange(toy_corpus.items), prepared.item_spans)
    bounds = torch.from_numpy(label_keys(toy_corpus.spans, items, stride))
    item = np.arange(toy_corpus.items)
    spans = toy_corpus.spans[toy_corpus.item_span[:-1]]
    start = np.maximum(spans[:, 0] - 3, 0)
    rows = Rows(np.zeros_like(item), np.full_like(item, 2), start, np.full_like(item, 20), np.zeros_like(item))
    device_rows = DeviceRows(rows, TokenStore(prepared.tokens, prepared.question_tokens, torch.device("cpu")))
    batch = device_rows.batch(Chunk(0, len(item), 32))
    labels = evidence_labels(batch, torch.from_numpy(item), bounds, stride)
    for row in range(len(item)):
        expected = [spans[row, 0] <= position < spans[row, 1] for position in range(start[row], start[row] + 20)]
        assert labels[row, 4:24].tolist() == expected
        assert not labels[row, :4].any() and not labels[row, 24:].any()
