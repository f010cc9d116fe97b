"""Units and windows."""

import numpy as np

from ranker import text


def units_of(content: str) -> list[str]:
    words = content.split()
    ends = np.cumsum(text.unit_word_counts(content, text.word_starts(content)))
    return [" ".join(words[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def test_sentences_end_at_marks_but_not_at_abbreviations() -> None:
    content = 'He met Dr. Smith at 5 p.m. on Monday. "Well," she said. (They left.) and so on'
    assert units_of(content) == ["He met Dr. Smith at 5 p.m. on Monday.", '"Well," she said.', "(They left.) and so on"]


def test_lines_end_units_unless_they_are_wrapped() -> None:
    wrapped = "this line is so long that an editor must have wrapped it\nbefore its end. Next"
    assert units_of(wrapped) == ["this line is so long that an editor must have wrapped it before its end.", "Next"]
    assert units_of("Sales | 3 | 4\nCosts | 5 | 6") == ["Sales | 3 | 4", "Costs | 5 | 6"]


def test_long_sentences_are_cut() -> None:
    content = " ".join(["word"] * 400)
    assert [len(unit.split()) for unit in units_of(content)] == [150, 150, 100]


def test_windows_take_whole_units_up_to_their_budget() -> None:
    words = np.array([40, 60, 1, 150, 20, 30, 51])
    assert text.cut_windows(words, text.even_budgets()).tolist() == [2, 1, 1, 2, 1]


def test_jittered_windows_cover_all_units() -> None:
    words = np.full(500, 11)
    even = text.cut_windows(words, text.even_budgets())
    jittered = text.cut_windows(words, text.jittered_budgets(np.random.default_rng(1)))
    assert even.sum() == jittered.sum() == 500
    shared = np.intersect1d(np.cumsum(even), np.cumsum(jittered))
    assert len(shared) < len(even) / 2
