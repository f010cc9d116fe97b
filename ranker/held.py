"""Documents kept out of training: their rows, and the evidence that the model alone keeps at a tenth of the words."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .corpus import Corpus, offsets
from .rows import Rows, expand
from .scoring import RowUnits, Scores

Ints = NDArray[np.int64]

BUDGET = 0.1
# The cutting that the worker makes.
WORKER_CUTTING = 0


@dataclass(frozen=True)
class HeldRows:
    """Rows of whole documents: every window of the worker's cutting, item by item."""

    items: Ints
    windows: Ints  # [items] rows of each item
    rows: Rows
    units: RowUnits


def document_rows(corpus: Corpus, items: Ints) -> HeldRows:
    """Returns the rows of these items, each with its first form."""
    document = corpus.prepared.item_document[items]
    at = WORKER_CUTTING * corpus.documents + document
    first = corpus.document_window[at]
    count = corpus.document_window[at + 1] - first
    window = expand(first, count)
    form = np.repeat(corpus.item_form[items], count)
    rows = Rows(
        corpus.form_start[form],
        corpus.prepared.form_tokens[form].astype(np.int64),
        corpus.window_start[window],
        corpus.window_length[window],
        corpus.window_left[window],
    )
    return HeldRows(items, count, rows, window_units(corpus, window))


def window_units(corpus: Corpus, window: Ints) -> RowUnits:
    """Returns the units of windows; what is cut off a window is cut off its last units."""
    counts = corpus.prepared.window_units[window].astype(np.int64)
    unit = expand(corpus.window_unit[window], counts)
    start = np.repeat(corpus.window_start[window], counts)
    limit = np.repeat(corpus.window_length[window], counts)
    starts = np.minimum(corpus.unit_start[unit] - start, limit)
    return RowUnits(counts, starts, np.minimum(corpus.unit_start[unit + 1] - start, limit))


def document_tokens(corpus: Corpus, items: Ints) -> Ints:
    """Returns the tokens of each item's document."""
    return np.diff(corpus.document_start)[corpus.prepared.item_document[items]]


def choose_items(corpus: Corpus, a_source: int, longest: int, seed: int) -> Ints:
    """Chooses up to `a_source` items with evidence of each source, in random order.

    Their documents were kept out of training and have at most `longest` tokens.
    """
    rng = np.random.default_rng(seed)
    usable = corpus.held_items & (corpus.prepared.item_spans > 0)
    usable &= document_tokens(corpus, np.arange(corpus.items)) <= longest
    chosen = []
    for source in range(len(corpus.prepared.sources)):
        members = np.flatnonzero(usable & (corpus.prepared.item_source == source))
        chosen.append(rng.permutation(members)[:a_source])
    return rng.permutation(np.concatenate(chosen))


def first_that_fit(corpus: Corpus, items: Ints, tokens: float) -> Ints:
    """Returns the first items whose documents together have at most `tokens` tokens, at least one."""
    total = np.cumsum(document_tokens(corpus, items))
    return items[: max(1, int(np.searchsorted(total, tokens)))]


def evidence_recall(corpus: Corpus, held: HeldRows, unit_scores: NDArray[np.float32]) -> dict[str, float]:
    """Returns the mean recall of evidence tokens at BUDGET of the words for each source, and the mean of those."""
    units_of_row = offsets(held.units.counts)[offsets(held.windows)]
    recalls: dict[str, list[float]] = {}
    for number, item in enumerate(held.items):
        scores = unit_scores[units_of_row[number] : units_of_row[number + 1]]
        name = str(corpus.prepared.sources[corpus.prepared.item_source[item]])
        recalls.setdefault(name, []).append(item_recall(corpus, int(item), scores))
    means = {name: float(np.mean(values)) for name, values in sorted(recalls.items())}
    return {"macro": float(np.mean(list(means.values()))), **means}


def item_recall(corpus: Corpus, item: int, scores: NDArray[np.float32]) -> float:
    """Returns the share of an item's evidence tokens in its best units that fit into the budget."""
    document = corpus.prepared.item_document[item]
    units = slice(corpus.document_unit[document], corpus.document_unit[document + 1])
    words = corpus.prepared.unit_words[units].astype(np.int64)
    best = np.argsort(-scores, kind="stable")
    taken = best[np.cumsum(words[best]) <= BUDGET * words.sum()]
    bounds = corpus.unit_start[units.start : units.stop + 1]
    spans = corpus.spans[corpus.item_span[item] : corpus.item_span[item + 1]]
    starts, ends = bounds[taken, None], bounds[taken + 1, None]
    overlap = np.minimum(ends, spans[:, 1]) - np.maximum(starts, spans[:, 0])
    return float(np.maximum(overlap, 0).sum() / (spans[:, 1] - spans[:, 0]).sum())


def write_scores(path: Path, corpus: Corpus, held: HeldRows, scores: Scores) -> None:
    """Writes logits for a later calibration: of units and windows, item by item, in document order."""
    np.savez_compressed(
        path,
        item=held.items.astype(np.int32),
        item_windows=held.windows.astype(np.int32),
        window_units=held.units.counts.astype(np.uint16),
        window_logit=scores.window.astype(np.float16),
        unit_mean=scores.unit_mean.astype(np.float16),
        unit_max=scores.unit_max.astype(np.float16),
    )
