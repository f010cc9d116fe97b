"""Cuts a document into units (sentences and table rows) and runs of units into windows.

The worker cuts with many more rules; what matters here is that units have the same grain: whole sentences, whole
lines where lines are meant, at most 150 words. All ranges are half open.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MAX_UNIT_WORDS = 150
WINDOW_WORDS = 100
# A line shorter than this, in characters, was not wrapped by an editor: its end is meant.
WRAPPED_LINE_CHARACTERS = 50

_WORD = re.compile(r"\S+")
_BREAK = re.compile(r"(?P<line>[ \t]*\n\s*)|(?P<mark>[.!?…][\"'”’)\]]*)[ \t]+(?=[^\sa-z])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nos|Inc|Corp|Ltd|Co|vs|cf|al|Fig|Figs|Sec|Art|approx|etc)|\b[a-z]\.[a-z])\.$"
)


def sentence_starts(text: str) -> list[int]:
    """Returns the character at which each sentence starts; the first is 0."""
    starts = [0]
    line_start = 0
    for match in _BREAK.finditer(text):
        if match["line"] is None:
            if not _ABBREVIATION.search(text, max(0, match.start() - 12), match.end("mark")):
                starts.append(match.end())
            continue
        short = match.start() - line_start < WRAPPED_LINE_CHARACTERS
        blank_line = match["line"].count("\n") > 1
        continues = text[match.end() : match.end() + 1].islower()
        if short or blank_line or not continues:
            starts.append(match.end())
        line_start = match.end()
    return starts


def unit_word_counts(text: str, word_starts: Ints) -> Ints:
    """Returns the words of each unit of a text; together the units hold all words, in order."""
    starts = np.unique(np.searchsorted(word_starts, sentence_starts(text)))
    bounds = np.append(starts[starts < len(word_starts)], len(word_starts))
    counts = [
        min(MAX_UNIT_WORDS, end - at)
        for start, end in zip(bounds[:-1], bounds[1:], strict=True)
        for at in range(start, end, MAX_UNIT_WORDS)
    ]
    return np.array(counts, np.int64)


def word_starts(text: str) -> Ints:
    """Returns the character at which each word (a run without white space) starts."""
    return np.fromiter((match.start() for match in _WORD.finditer(text)), np.int64)


def cut_windows(unit_words: Ints, budgets: Iterator[int]) -> Ints:
    """Returns the units of each window: as many as fit into its word budget, at least one, none twice."""
    sizes: list[int] = []
    size, words, budget = 0, 0, next(budgets)
    for count in unit_words.tolist():
        if size and words + count > budget:
            sizes.append(size)
            size, words, budget = 0, 0, next(budgets)
        size += 1
        words += count
    if size:
        sizes.append(size)
    return np.array(sizes, np.int64)


def even_budgets() -> Iterator[int]:
    """Yields the word budget of the worker's windows, for ever."""
    while True:
        yield WINDOW_WORDS


def jittered_budgets(rng: np.random.Generator) -> Iterator[int]:
    """Yields word budgets that put the cuts elsewhere: a first window of any size, then 70 to 120 words."""
    yield int(rng.integers(15, WINDOW_WORDS))
    while True:
        yield int(rng.integers(70, 121))
