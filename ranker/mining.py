"""Finds windows without evidence that the model itself ranks high."""

import numpy as np
from numpy.typing import NDArray

from .corpus import NO_WINDOW
from .held import WORKER_CUTTING, document_rows, document_tokens, first_that_fit
from .model import Ranker
from .rows import TokenStore
from .sampling import HARD_WINDOWS, Sampler
from .scoring import score_rows, whole_windows

Ints = NDArray[np.int64]

# In shorter documents the random negatives are most of the document anyway.
MIN_WINDOWS = 16
CANDIDATES = 20_000
# A window that the model ranks above the middle of the evidence is likely evidence that nobody marked.
MARGIN = 0.05


def mine(model: Ranker, store: TokenStore, sampler: Sampler, tokens: float, chunk: int) -> int:
    """Fills `sampler.hard` for as many items as `tokens` scored tokens allow; returns of how many."""
    corpus = sampler.corpus
    items = np.unique(sampler.draw_items(CANDIDATES))
    windows = corpus.prepared.document_windows[WORKER_CUTTING, corpus.prepared.item_document[items]]
    items = items[(windows >= MIN_WINDOWS) & (document_tokens(corpus, items) <= tokens)]
    if not len(items):
        return 0
    items = np.random.default_rng(len(items)).permutation(items)
    held = document_rows(corpus, first_that_fit(corpus, items, tokens))
    scores = score_rows(model, store, held.rows, whole_windows(held.rows), chunk).unit_mean
    at = 0
    for item, count in zip(held.items.tolist(), held.windows.tolist(), strict=True):
        keep_hardest(sampler, item, scores[at : at + count])
        at += count
    return len(held.items)


def keep_hardest(sampler: Sampler, item: int, scores: NDArray[np.float32]) -> None:
    """Keeps an item's best windows without evidence that score below the middle of those with evidence."""
    corpus = sampler.corpus
    document = int(corpus.prepared.item_document[item])
    first, last = corpus.windows_of(document, WORKER_CUTTING)
    window = np.arange(first, last)
    positive = sampler.is_positive(np.full(len(window), item), window)
    middle = float(np.median(scores[positive])) if positive.any() else -np.inf
    order = np.argsort(-scores, kind="stable")
    hard = window[order[~positive[order] & (scores[order] < middle - MARGIN * abs(middle))]][:HARD_WINDOWS]
    centre = corpus.window_start[hard] + corpus.window_length[hard] // 2
    for cutting in range(corpus.cuttings):
        first, last = corpus.windows_of(document, cutting)
        found = np.searchsorted(corpus.window_start[first:last], centre, "right") - 1
        sampler.hard[item, cutting] = NO_WINDOW
        sampler.hard[item, cutting, : len(found)] = found
