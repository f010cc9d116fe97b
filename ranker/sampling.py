"""Draws training groups: a question form with windows that hold its evidence and windows that do not.

Everything is drawn for thousands of groups at once with numpy; the trainer runs this beside the device's work.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .corpus import NO_WINDOW, Corpus, positive_windows
from .rows import Chunk, Rows, expand, split_sorted

Ints = NDArray[np.int64]

POSITIVES = 6
HARD = 4
LEXICAL = 3
NEGATIVES = 9  # hard, lexical, then random ones
PLAIN_SHARE = 0.6
HARD_WINDOWS = 8  # kept for an item

# Share of the groups that a source gets; small sources are seen more often than once.
SOURCE_SHARE = {
    "cuad": 0.16,
    "cuad_headings": 0.14,
    "qmsum": 0.11,
    "qmsum_topics": 0.04,
    "medquad": 0.12,
    "evidence_inference": 0.09,
    "pmc_sections": 0.15,
    "fairytale": 0.10,
    "tables": 0.09,
}


@dataclass(frozen=True)
class Step:
    """A batch: a range of a plan's rows, in chunks of like length, and its number of groups."""

    start: int
    end: int
    groups: int
    chunks: list[Chunk]


@dataclass(frozen=True)
class Plan:
    """Rows of many batches, one batch after the other, each sorted by length."""

    rows: Rows
    item: Ints  # [rows]
    group: Ints  # [rows] numbered within the batch
    steps: list[Step]


class Sampler:
    """Draws plans from the documents that are not kept out."""

    def __init__(self, corpus: Corpus, seed: int, others: int = 1, without: Collection[str] = ()) -> None:
        """Starts to draw; `without` are sources that are left out, `others` windows of other documents in a group."""
        self.corpus = corpus
        self._others = others  # windows of other documents in a group
        self._rng = np.random.default_rng(seed)
        self._positive, self._positive_offset = positive_windows(corpus)
        counts = np.diff(self._positive_offset).reshape(corpus.items, corpus.cuttings)
        owner = np.repeat(np.arange(corpus.items), counts.sum(1))
        self._positive_keys = np.sort(owner * len(corpus.window_start) + self._positive)
        usable = ~corpus.held_items & (counts > 0).all(1)
        prepared = corpus.prepared
        names = prepared.sources.tolist()
        self.items = [np.flatnonzero(usable & (prepared.item_source == at)) for at in range(len(names))]
        self._documents = [np.unique(prepared.item_document[items]) for items in self.items]
        share = np.array([SOURCE_SHARE.get(name, 0.1) for name in names])
        share *= [len(items) > 0 and name not in without for items, name in zip(self.items, names, strict=True)]
        self._share = share / share.sum()
        self.hard = np.full((corpus.items, corpus.cuttings, HARD_WINDOWS), NO_WINDOW, np.int64)

    def draw_items(self, count: int) -> Ints:
        """Draws items by the shares of their sources."""
        source = self._rng.choice(len(self._share), count, p=self._share)
        items = np.zeros(count, np.int64)
        for at, members in enumerate(self.items):
            chosen = source == at
            items[chosen] = (
                members[self._rng.integers(0, max(len(members), 1), int(chosen.sum()))] if len(members) else 0
            )
        return items

    def is_positive(self, item: Ints, window: Ints) -> NDArray[np.bool_]:
        """Returns whether each window holds evidence of its item."""
        keys = item * len(self.corpus.window_start) + window
        at = np.searchsorted(self._positive_keys, keys)
        return np.equal(self._positive_keys[np.minimum(at, len(self._positive_keys) - 1)], keys)

    def draw(self, groups: int, tokens: int, parts: int) -> Plan:
        """Draws a plan of `groups` groups in batches of about `tokens` tokens, `parts` chunks each."""
        corpus = self.corpus
        item = self.draw_items(groups)
        cutting = self._rng.integers(0, corpus.cuttings, groups)
        parts_of_rows = [
            self._draw_positive(item, cutting),
            self._draw_negative(item, cutting),
            self._draw_other(item, cutting),
            *(self._draw_foreign(item, cutting) for _ in range(self._others - 1)),
        ]
        group = np.concatenate([part[0] for part in parts_of_rows])
        window = np.concatenate([part[1] for part in parts_of_rows])
        form = self._draw_forms(item)[group]
        rows = Rows(
            corpus.form_start[form],
            corpus.prepared.form_tokens[form].astype(np.int64),
            corpus.window_start[window],
            corpus.window_length[window],
            corpus.window_left[window],
        )
        return arrange(rows, item[group], group, groups, tokens, parts)

    def _draw_forms(self, item: Ints) -> Ints:
        plain = self.corpus.prepared.item_plain_forms[item].astype(np.int64)
        noisy = self.corpus.prepared.item_noisy_forms[item].astype(np.int64)
        take_plain = (self._rng.random(len(item)) < PLAIN_SHARE) | (noisy == 0)
        pick = self._rng.random(len(item))
        return self.corpus.item_form[item] + np.where(take_plain, pick * plain, plain + pick * noisy).astype(np.int64)

    def _draw_positive(self, item: Ints, cutting: Ints) -> tuple[Ints, Ints]:
        at = item * self.corpus.cuttings + cutting
        first = self._positive_offset[at]
        group, flat = self._choose(first, self._positive_offset[at + 1] - first, POSITIVES)
        return group, self._positive[flat]

    def _draw_negative(self, item: Ints, cutting: Ints) -> tuple[Ints, Ints]:
        first, count = self._document_windows(self.corpus.prepared.item_document[item], cutting)
        groups: list[Ints] = []
        windows: list[Ints] = []
        ranks: list[Ints] = []
        for priority, table, take in ((0, self.hard, HARD), (1, self.corpus.prepared.lexical, LEXICAL)):
            known = table[item, cutting].astype(np.int64)
            group, slot = self._choose(np.zeros(len(item), np.int64), (known != NO_WINDOW).sum(1), take)
            groups.append(group)
            windows.append(first[group] + known[group, slot])
            ranks.append(np.full(len(group), priority))
        group, flat = self._choose(first, count, NEGATIVES + POSITIVES)
        group, window = np.concatenate([*groups, group]), np.concatenate([*windows, flat])
        rank = np.concatenate([*ranks, np.full(len(flat), 2)])
        order = np.lexsort((rank, window, group))
        group, window, rank = group[order], window[order], rank[order]
        again = np.append(False, (group[1:] == group[:-1]) & (window[1:] == window[:-1]))
        keep = ~again & ~self.is_positive(item[group], window)
        group, window, rank = group[keep], window[keep], rank[keep]
        order = np.lexsort((self._rng.random(len(group)), rank, group))
        group, window = group[order], window[order]
        keep = rank_in_group(group) < NEGATIVES
        return group[keep], window[keep]

    def _draw_other(self, item: Ints, cutting: Ints) -> tuple[Ints, Ints]:
        """Draws a window of another document of the same source for each group that finds one."""
        source = self.corpus.prepared.item_source[item]
        pick = self._rng.random((2, len(item)))
        document = np.zeros(len(item), np.int64)
        for at, members in enumerate(self._documents):
            chosen = source == at
            if chosen.any():
                document[chosen] = members[(pick[0, chosen] * len(members)).astype(np.int64)]
        first, count = self._document_windows(document, cutting)
        group = np.flatnonzero(document != self.corpus.prepared.item_document[item])
        return group, (first + (pick[1] * count).astype(np.int64))[group]

    def _draw_foreign(self, item: Ints, cutting: Ints) -> tuple[Ints, Ints]:
        """Draws a window that holds evidence of another item, in another document of the same source."""
        source = self.corpus.prepared.item_source[item]
        pick = self._rng.random((2, len(item)))
        other = item.copy()
        for at, members in enumerate(self.items):
            chosen = source == at
            if chosen.any():
                other[chosen] = members[(pick[0, chosen] * len(members)).astype(np.int64)]
        document = self.corpus.prepared.item_document
        group = np.flatnonzero(document[other] != document[item])
        at = (other * self.corpus.cuttings + cutting)[group]
        first, count = self._positive_offset[at], self._positive_offset[at + 1] - self._positive_offset[at]
        return group, self._positive[first + (pick[1, group] * count).astype(np.int64)]

    def _document_windows(self, document: NDArray[np.integer], cutting: Ints) -> tuple[Ints, Ints]:
        at = cutting * self.corpus.documents + document
        first = self.corpus.document_window[at]
        return first, self.corpus.document_window[at + 1] - first

    def _choose(self, first: Ints, count: Ints, take: int) -> tuple[Ints, Ints]:
        """Chooses up to `take` of the numbers `first .. first + count` of each group, all with the same chance."""
        group = np.repeat(np.arange(len(first)), count)
        flat = expand(first, count)
        order = np.lexsort((self._rng.random(len(flat)), group))
        keep = rank_in_group(group) < take
        return group[order][keep], flat[order][keep]


def rank_in_group(group: Ints) -> Ints:
    """Returns 0, 1, .. within each run of equal numbers."""
    if not len(group):
        return group
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def arrange(rows: Rows, item: Ints, group: Ints, groups: int, tokens: int, parts: int) -> Plan:
    """Puts rows into batches of whole groups, in the order of the groups, and sorts each batch by length."""
    lengths = rows.lengths()
    group_tokens = np.bincount(group, lengths, groups)
    batch_of_group = (np.cumsum(group_tokens) / tokens).astype(np.int64)
    batch = batch_of_group[group]
    order = np.lexsort((lengths, batch))
    first_group = np.searchsorted(batch_of_group, batch_of_group)
    bounds = np.append(np.unique(batch[order], return_index=True)[1], len(order))
    numbers = batch[order][bounds[:-1]]
    sizes = np.bincount(batch_of_group)[numbers]
    sorted_lengths = lengths[order]
    steps = [
        Step(int(a), int(b), int(size), split_sorted(sorted_lengths[a:b], parts))
        for a, b, size in zip(bounds[:-1], bounds[1:], sizes, strict=True)
    ]
    return Plan(rows.take(order), item[order], (group - first_group[group])[order], steps)
