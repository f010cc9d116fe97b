"""Made-up reports."""

import random

from ranker.tables import write_report


def test_evidence_is_whole_lines_or_sentences() -> None:
    rng = random.Random(3)
    rows = 0
    for _ in range(30):
        draft = write_report(rng)
        for item in draft.items:
            assert "{" not in item["question"] and item["question"] not in item["alt"]
            for start, end in item["spans"]:
                assert draft.text[start - 1] in "\n " and draft.text[end] in "\n "
                rows += draft.text[start - 1] == "\n" == draft.text[end]
    assert rows > 150


def test_a_seed_gives_one_report() -> None:
    first, again, other = (write_report(random.Random(seed)) for seed in (1, 1, 2))
    assert first.text == again.text and first.items == again.items
    assert first.text != other.text
