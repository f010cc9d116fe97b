"""What is chosen of the documents kept out."""

import json
import random

from ranker.kept import A_DOCUMENT, ITEMS, SHORTEST_WORDS, choose, make_line
from ranker.prepare import Item


def test_long_documents_give_a_few_questions_each() -> None:
    texts = ["word " * SHORTEST_WORDS] * 30 + ["word " * (SHORTEST_WORDS - 1)]
    items = [Item("a", document, [f"q {number}"], 1, [(0, 4)]) for document in range(31) for number in range(9)]
    chosen = choose(items, texts, random.Random(1))
    assert len(chosen) == ITEMS and all(item.document < 30 for item in chosen)
    documents = [item.document for item in chosen]
    assert documents == sorted(documents) and max(map(documents.count, documents)) <= A_DOCUMENT


def test_a_line_is_as_eval_has_it() -> None:
    line = json.loads(make_line(Item("a", 0, ["What?", "other"], 2, [(4, 8)]), 3, "The text."))
    assert line["id"] == "a-3" and line["question"] == "What?"
    assert line["evidence"] == [{"start": 4, "end": 8, "text": "text"}]
