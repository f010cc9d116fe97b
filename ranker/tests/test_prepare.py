"""Prepared data against the texts that it was made of."""

from pathlib import Path

import numpy as np
import pytest

from ranker.bm25 import K1, B, WindowIndex
from ranker.corpus import MAX_WINDOW_TOKENS, NO_WINDOW, Corpus, Prepared, label_keys, positive_windows, shorten
from ranker.prepare import Item

from .conftest import FIRST_WORD, WORDS


def words_of(ids: np.ndarray) -> list[str]:
    return [WORDS[number - FIRST_WORD] if number < FIRST_WORD + len(WORDS) else "?" for number in ids.tolist()]


def test_each_cutting_partitions_the_tokens_of_each_document(toy_corpus: Corpus) -> None:
    for document in range(toy_corpus.documents):
        for cutting in range(toy_corpus.cuttings):
            first, last = toy_corpus.windows_of(document, cutting)
            starts = toy_corpus.window_start[first:last]
            assert starts[0] == toy_corpus.document_start[document]
            lengths = np.diff(np.append(starts, toy_corpus.document_start[document + 1]))
            assert (toy_corpus.window_length[first:last] == np.minimum(lengths, MAX_WINDOW_TOKENS)).all()


def test_spans_hold_the_evidence(toy_corpus: Corpus, toy_items: list[Item], toy_texts: list[str]) -> None:
    for number, item in enumerate(toy_items):
        (start, end), *_ = item.spans
        expected = [word for word in toy_texts[item.document][start:end].replace(".", " ").split() if word[0] == "w"]
        spans = toy_corpus.spans[toy_corpus.item_span[number] : toy_corpus.item_span[number + 1]]
        found = words_of(np.concatenate([toy_corpus.prepared.tokens[a:b] for a, b in spans]))
        assert [word for word in found if word != "?"] == expected


def test_positive_windows_are_those_that_overlap_a_span(toy_corpus: Corpus) -> None:
    flat, offset = positive_windows(toy_corpus)
    for item in range(toy_corpus.items):
        spans = toy_corpus.spans[toy_corpus.item_span[item] : toy_corpus.item_span[item + 1]].tolist()
        for cutting in range(toy_corpus.cuttings):
            windows = range(*toy_corpus.windows_of(int(toy_corpus.prepared.item_document[item]), cutting))
            starts, lengths = toy_corpus.window_start.tolist(), toy_corpus.window_length.tolist()
            expected = [
                window
                for window in windows
                if any(a < starts[window] + lengths[window] and b > starts[window] for a, b in spans)
            ]
            at = item * toy_corpus.cuttings + cutting
            assert flat[offset[at] : offset[at + 1]].tolist() == expected


def test_lexical_windows_hold_no_evidence(toy_corpus: Corpus) -> None:
    flat, offset = positive_windows(toy_corpus)
    found = 0
    for item in range(toy_corpus.items):
        for cutting in range(toy_corpus.cuttings):
            first, last = toy_corpus.windows_of(int(toy_corpus.prepared.item_document[item]), cutting)
            known = toy_corpus.prepared.lexical[item, cutting]
            windows = first + known[known != NO_WINDOW]
            at = item * toy_corpus.cuttings + cutting
            assert (windows < last).all()
            assert not set(windows) & set(flat[offset[at] : offset[at + 1]])
            found += len(windows)
    assert found > toy_corpus.items


def test_bm25_follows_its_formula() -> None:
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 30, 200).astype(np.uint16)
    bounds = np.array([0, 20, 50, 90, 120, 200])
    scores = WindowIndex(ids, bounds[:-1], bounds[1:]).score([3, 7, 7, 29, 500])
    windows = [ids[a:b].tolist() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    mean = sum(map(len, windows)) / len(windows)
    for window, score in zip(windows, scores, strict=True):
        expected = 0.0
        for term in (3, 7, 29, 500):
            holding = sum(term in other for other in windows)
            frequency = window.count(term)
            idf = np.log(1 + (len(windows) - holding + 0.5) / (holding + 0.5))
            expected += idf * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * len(window) / mean))
        assert score == pytest.approx(expected)


def test_a_tenth_of_the_documents_is_kept_out(toy_prepared: Prepared) -> None:
    assert toy_prepared.held_documents.sum() == 2


def test_label_keys_tell_evidence_by_parity(toy_corpus: Corpus) -> None:
    stride = len(toy_corpus.prepared.tokens)
    items = np.repeat(np.arange(toy_corpus.items), toy_corpus.prepared.item_spans)
    keys = label_keys(toy_corpus.spans, items, stride)
    assert (np.diff(keys) > 0).all()
    for item in (0, 11, toy_corpus.items - 1):
        inside = np.searchsorted(keys, item * stride + np.arange(stride), "right") % 2 == 1
        (start, end), *_ = toy_corpus.spans[toy_corpus.item_span[item] : toy_corpus.item_span[item + 1]]
        assert np.flatnonzero(inside).tolist() == list(range(start, end))


def test_long_questions_keep_start_and_end() -> None:
    assert shorten(list(range(100))) == [*range(24), *range(60, 100)]
    assert shorten([1, 2]) == [1, 2]


def test_the_file_reads_back(toy_prepared: Prepared, tmp_path: Path) -> None:
    toy_prepared.write(tmp_path / "toy.npz.xz")
    again = Prepared.read(tmp_path / "toy.npz.xz")
    for name, array in vars(toy_prepared).items():
        assert (getattr(again, name) == array).all() and getattr(again, name).dtype == array.dtype, name
