"""The prepared training data: what `prepare` writes and the trainer reads, as flat arrays.

Items stand in the order of the input's lines. A document is a run of tokens, its units are a partition of them, and a
cutting groups its units into windows. Positions are positions in `tokens`; windows of all cuttings are numbered
together, cutting by cutting.
"""

import io
import lzma
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MAX_WINDOW_TOKENS = 220
MAX_QUESTION_TOKENS = 64
QUESTION_HEAD = 24  # tokens kept of the start of a long question; the rest is kept of its end
NO_WINDOW = -1


@dataclass(frozen=True)
class Prepared:
    """The arrays of the file."""

    tokens: NDArray[np.uint16]  # of all documents
    document_units: NDArray[np.int32]  # units of each document
    unit_tokens: NDArray[np.uint16]  # tokens of each unit
    unit_words: NDArray[np.uint8]  # words of each unit
    window_units: NDArray[np.uint16]  # [windows of all cuttings] units of each window
    document_windows: NDArray[np.int32]  # [cuttings, documents] windows of each document
    question_tokens: NDArray[np.uint16]  # of all forms of all questions
    form_tokens: NDArray[np.uint8]  # tokens of each form
    item_plain_forms: NDArray[np.uint8]  # forms of each item that are plain; they come first
    item_noisy_forms: NDArray[np.uint8]
    item_document: NDArray[np.int32]
    item_source: NDArray[np.int16]
    item_spans: NDArray[np.int32]  # spans of each item
    span_bounds: NDArray[np.int32]  # [spans, 2] merged, in order, in tokens of the document
    lexical: NDArray[np.int16]  # [items, cuttings, n] windows without evidence, best BM25 first, within the document
    held_documents: NDArray[np.bool_]  # kept out of training
    sources: NDArray[np.str_]

    def write(self, path: Path) -> None:
        """Writes an .npz, compressed with xz."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in fields(self)})
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 2, "lp": 1, "pb": 1, "dict_size": 1 << 26}]
        path.write_bytes(lzma.compress(buffer.getvalue(), filters=filters))

    @classmethod
    def read(cls, path: Path) -> "Prepared":
        """Reads what `write` wrote."""
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def offsets(counts: NDArray[np.integer]) -> Ints:
    """Returns the first index of each group and one past the last, from the sizes of the groups."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def shorten(ids: list[int]) -> list[int]:
    """Returns at most MAX_QUESTION_TOKENS tokens: the start and the end of a question."""
    if len(ids) <= MAX_QUESTION_TOKENS:
        return ids
    return ids[:QUESTION_HEAD] + ids[QUESTION_HEAD - MAX_QUESTION_TOKENS :]


class Corpus:
    """Prepared data with everything that follows from it.

    Windows are read with up to `left` tokens of their document before them.
    """

    def __init__(self, prepared: Prepared, left: int = 0) -> None:
        self.prepared = prepared
        self.unit_start = offsets(prepared.unit_tokens)
        self.document_unit = offsets(prepared.document_units)
        self.document_start = self.unit_start[self.document_unit]
        cuttings, documents = prepared.document_windows.shape
        self.document_window = offsets(prepared.document_windows.ravel())
        self.cuttings, self.documents = cuttings, documents
        self.window_unit = self._first_units()
        last = self.window_unit + prepared.window_units
        self.window_start = self.unit_start[self.window_unit]
        self.window_length = np.minimum(self.unit_start[last] - self.window_start, MAX_WINDOW_TOKENS)
        document = np.searchsorted(self.document_start, self.window_start, "right") - 1
        self.window_left = np.minimum(self.window_start - self.document_start[document], left)
        self.form_start = offsets(prepared.form_tokens)
        self.item_form = offsets(prepared.item_plain_forms.astype(np.int64) + prepared.item_noisy_forms)
        self.item_span = offsets(prepared.item_spans)
        item_of_span = np.repeat(np.arange(self.items), prepared.item_spans)
        start = self.document_start[prepared.item_document[item_of_span]]
        self.spans = prepared.span_bounds + start[:, None]
        self.held_items = prepared.held_documents[prepared.item_document]

    @property
    def items(self) -> int:
        """Number of items: a question and its evidence in a document."""
        return len(self.prepared.item_document)

    def windows_of(self, document: int, cutting: int) -> tuple[int, int]:
        """Returns the range of windows of a document in a cutting."""
        at = cutting * self.documents + document
        return int(self.document_window[at]), int(self.document_window[at + 1])

    def holds(self, item: Ints, position: Ints) -> NDArray[np.bool_]:
        """Returns whether each position lies in the document of its item."""
        document = self.prepared.item_document[item]
        return (self.document_start[document] <= position) & (position < self.document_start[document + 1])

    def _first_units(self) -> Ints:
        """Returns the first unit of each window; each cutting starts again at the first unit."""
        starts = offsets(self.prepared.window_units)[:-1]
        return starts % int(self.document_unit[-1])


def label_keys(spans: Ints, item_of_span: Ints, stride: int) -> Ints:
    """Returns the sorted bounds of all spans as `item * stride + position`.

    A token is evidence if an odd number of bounds is at or before its key, since spans of an item are disjoint.
    """
    return (spans + item_of_span[:, None] * stride).ravel()


def positive_windows(corpus: Corpus) -> tuple[Ints, Ints]:
    """Returns the windows that hold evidence as a flat list, and its offsets by `item * cuttings + cutting`."""
    found: list[Ints] = []
    ends = corpus.window_start + corpus.window_length
    for item in range(corpus.items):
        spans = corpus.spans[corpus.item_span[item] : corpus.item_span[item + 1]]
        for cutting in range(corpus.cuttings):
            first, last = corpus.windows_of(int(corpus.prepared.item_document[item]), cutting)
            # The windows [a, b) overlap a span: a is the first that ends behind its start.
            a = first + np.searchsorted(ends[first:last], spans[:, 0], "right")
            b = first + np.searchsorted(corpus.window_start[first:last], spans[:, 1], "left")
            ranges = [np.arange(x, y) for x, y in zip(a, b, strict=True)]
            found.append(np.unique(np.concatenate(ranges)) if ranges else np.zeros(0, np.int64))
    sizes = np.array([len(windows) for windows in found], np.int64)
    return np.concatenate(found).astype(np.int64), offsets(sizes)
