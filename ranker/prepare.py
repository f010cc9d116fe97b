"""Prepares training data on a CPU: tokens, units, cuttings, question forms, evidence and look-alike windows.

    python -m ranker.prepare --tokenizer MODEL/tokenizer.json --out FOLDER/train.npz.xz DATA.jsonl.xz ...

An input's first line is `{"documents": [...]}`; then a line an item: source, doc, question, alt, spans.
"""

import argparse
import json
import lzma
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from . import text
from .bm25 import WindowIndex
from .corpus import MAX_WINDOW_TOKENS, NO_WINDOW, Prepared, offsets, shorten
from .forms import noisy_forms, plain_forms

Ints = NDArray[np.int64]

CUTTINGS = 2
LEXICAL_WINDOWS = 10
HELD_SHARE = 0.1
SEED = 18


@dataclass(frozen=True)
class Document:
    """A document cut and tokenised; positions are its own tokens."""

    ids: NDArray[np.uint16]
    token_start: Ints  # characters
    token_end: Ints
    unit_tokens: Ints
    unit_words: Ints
    cuttings: list[Ints]  # units of each window


@dataclass(frozen=True)
class Item:
    """A question, and where its evidence is."""

    source: str
    document: int
    forms: list[str]
    plain: int
    spans: list[tuple[int, int]]  # characters


def read_inputs(paths: Iterable[Path]) -> tuple[list[str], list[Item]]:
    """Reads all inputs; items keep the order of the lines."""
    rng = random.Random(SEED)
    texts: list[str] = []
    items: list[Item] = []
    for path in paths:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            first = len(texts)
            texts += json.loads(next(lines))["documents"]
            items += [make_item(json.loads(line), first, rng) for line in lines]
    return texts, items


def make_item(row: dict[str, Any], first_document: int, rng: random.Random) -> Item:
    """Makes an item of a line; `rng` chooses the reworded forms."""
    plain = plain_forms(row["question"], row.get("alt") or [])
    spans = [(int(start), int(end)) for start, end in row["spans"]]
    forms = plain + noisy_forms(plain, rng)
    return Item(row["source"], first_document + row["doc"], forms, len(plain), spans)


def cut_document(content: str, ids: list[int], token_offsets: list[tuple[int, int]], seed: int) -> Document:
    """Cuts a tokenised document into units and windows."""
    bounds = np.array(token_offsets, np.int64).reshape(-1, 2)
    words = text.word_starts(content)
    unit_words = text.unit_word_counts(content, words)
    first_character = words[offsets(unit_words)[:-1]]
    first_token = np.searchsorted(bounds[:, 0], first_character)
    first_token[:1] = 0
    budgets = [text.even_budgets(), text.jittered_budgets(np.random.default_rng([SEED, seed]))]
    return Document(
        ids=np.array(ids, np.uint16),
        token_start=bounds[:, 0],
        token_end=bounds[:, 1],
        unit_tokens=np.diff(np.append(first_token, len(ids))),
        unit_words=unit_words,
        cuttings=[text.cut_windows(unit_words, budget) for budget in budgets[:CUTTINGS]],
    )


def cut_documents(texts: list[str], tokenizer: Tokenizer) -> list[Document]:
    """Tokenises and cuts all documents."""
    documents: list[Document] = []
    for at in range(0, len(texts), 64):
        batch = texts[at : at + 64]
        encoded = tokenizer.encode_batch(batch, add_special_tokens=False)
        for content, encoding in zip(batch, encoded, strict=True):
            documents.append(cut_document(content, encoding.ids, encoding.offsets, len(documents)))
    return documents


def token_spans(document: Document, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the tokens that touch the spans, merged and in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        first = int(np.searchsorted(document.token_end, start, "right"))
        last = int(np.searchsorted(document.token_start, end))
        if last <= first:
            continue
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


class LexicalSearch:
    """Finds windows without evidence that share words with a question; keeps the indexes of one document."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents
        self._current = -1
        self._indexes: list[WindowIndex] = []
        self._windows: list[tuple[Ints, Ints]] = []

    def find(self, item: Item, question: list[int], spans: list[tuple[int, int]]) -> NDArray[np.int16]:
        """Returns [cuttings, n] windows within the document, padded with NO_WINDOW."""
        if item.document != self._current:
            self._open(item.document)
        found = np.full((CUTTINGS, LEXICAL_WINDOWS), NO_WINDOW, np.int16)
        for cutting, (starts, ends) in enumerate(self._windows):
            scores = self._indexes[cutting].score(question)
            for first, last in spans:
                scores[(starts < last) & (ends > first)] = -1.0
            best = np.argsort(-scores, kind="stable")[:LEXICAL_WINDOWS]
            best = best[scores[best] > 0]
            found[cutting, : len(best)] = best
        return found

    def _open(self, number: int) -> None:
        document = self._documents[number]
        unit_start = offsets(document.unit_tokens)
        self._windows = []
        for sizes in document.cuttings:
            bounds = unit_start[offsets(sizes)]
            ends = np.minimum(bounds[1:], bounds[:-1] + MAX_WINDOW_TOKENS)
            self._windows.append((bounds[:-1], ends))
        self._indexes = [WindowIndex(document.ids, *windows) for windows in self._windows]
        self._current = number


def hold_documents(items: list[Item], documents: int) -> NDArray[np.bool_]:
    """Chooses the documents kept out of training: a tenth of those of each combination of sources."""
    sources: dict[int, set[str]] = {}
    for item in items:
        sources.setdefault(item.document, set()).add(item.source)
    groups: dict[tuple[str, ...], list[int]] = {}
    for document, names in sorted(sources.items()):
        groups.setdefault(tuple(sorted(names)), []).append(document)
    held = np.zeros(documents, np.bool_)
    rng = random.Random(SEED)
    for _, members in sorted(groups.items()):
        held[rng.sample(members, round(len(members) * HELD_SHARE))] = True
    return held


def prepare(texts: list[str], items: list[Item], tokenizer: Tokenizer) -> Prepared:
    """Makes the arrays."""
    documents = cut_documents(texts, tokenizer)
    all_forms = [form for item in items for form in item.forms]
    encoded = tokenizer.encode_batch(all_forms, add_special_tokens=False)
    questions = [shorten(encoding.ids) for encoding in encoded]
    first_form = offsets(np.array([len(item.forms) for item in items]))
    spans = [token_spans(documents[item.document], item.spans) for item in items]
    search = LexicalSearch(documents)
    lexical = np.zeros((len(items), CUTTINGS, LEXICAL_WINDOWS), np.int16)
    for at in sorted(range(len(items)), key=lambda at: items[at].document):
        lexical[at] = search.find(items[at], questions[first_form[at]], spans[at])
    sources = sorted({item.source for item in items})
    windows = [[document.cuttings[cutting] for document in documents] for cutting in range(CUTTINGS)]
    return Prepared(
        tokens=np.concatenate([document.ids for document in documents]),
        document_units=np.array([len(document.unit_tokens) for document in documents], np.int32),
        unit_tokens=np.concatenate([document.unit_tokens for document in documents]).astype(np.uint16),
        unit_words=np.concatenate([document.unit_words for document in documents]).astype(np.uint8),
        window_units=np.concatenate([sizes for cutting in windows for sizes in cutting]).astype(np.uint16),
        document_windows=np.array([[len(sizes) for sizes in cutting] for cutting in windows], np.int32),
        question_tokens=np.concatenate([np.array(ids, np.uint16) for ids in questions]),
        form_tokens=np.array([len(ids) for ids in questions], np.uint8),
        item_plain_forms=np.array([item.plain for item in items], np.uint8),
        item_noisy_forms=np.array([len(item.forms) - item.plain for item in items], np.uint8),
        item_document=np.array([item.document for item in items], np.int32),
        item_source=np.array([sources.index(item.source) for item in items], np.int16),
        item_spans=np.array([len(found) for found in spans], np.int32),
        span_bounds=np.array([span for found in spans for span in found], np.int32).reshape(-1, 2),
        lexical=lexical,
        held_documents=hold_documents(items, len(documents)),
        sources=np.array(sources),
    )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=Path, nargs="+")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    prepared = prepare(*read_inputs(arguments.inputs), tokenizer)
    prepared.write(arguments.out)
    print(
        f"{len(prepared.document_units)} documents, {len(prepared.tokens)} tokens, {len(prepared.unit_tokens)} units, "
        f"{len(prepared.window_units)} windows in {CUTTINGS} cuttings, {len(prepared.item_document)} items, "
        f"{len(prepared.span_bounds)} spans, {arguments.out.stat().st_size / 2**20:.1f} MiB, "
        f"{time.monotonic() - started:.0f} s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
