"""Writes questions on documents kept out of training in the format of eval/, for the calibration of `auto`.

    python -m ranker.kept --out FOLDER clean.jsonl.xz tables.jsonl.xz

FOLDER gets a file for each kind of documents, `KIND.jsonl`, with at most ITEMS questions of each source, A_DOCUMENT on
each document.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .prepare import Item, hold_documents, read_inputs

SEED = 5
ITEMS = 70
A_DOCUMENT = 4
KINDS = {
    "contracts": ("cuad", "cuad_headings"),
    "meetings": ("qmsum", "qmsum_topics"),
    "articles": ("evidence_inference", "pmc_sections"),
    "health": ("medquad",),
    "stories": ("fairytale",),
    "tables": ("tables",),
}
# Shorter documents are seldom cut. The made-up reports of `tables` are all short and are taken as they are.
SHORTEST_WORDS = 1200
ANY_LENGTH = "tables"


def choose(items: Iterable[Item], texts: list[str], rng: random.Random) -> list[Item]:
    """Chooses items of one source, in the order of their documents."""
    shuffled = list(items)
    rng.shuffle(shuffled)
    of_document: Counter[int] = Counter()
    chosen: list[Item] = []
    for item in shuffled:
        short = item.source != ANY_LENGTH and len(texts[item.document].split()) < SHORTEST_WORDS
        if short or of_document[item.document] == A_DOCUMENT or len(chosen) == ITEMS:
            continue
        of_document[item.document] += 1
        chosen.append(item)
    return sorted(chosen, key=lambda item: item.document)


def make_line(item: Item, number: int, document: str) -> str:
    """Returns an item as eval/README.md describes it."""
    evidence = [{"start": start, "end": end, "text": document[start:end]} for start, end in item.spans]
    return json.dumps(
        {
            "id": f"{item.source}-{number}",
            "document": document,
            "question": item.forms[0],
            "answers": [],
            "evidence": evidence,
        }
    )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=Path, nargs="+", help="as given to ranker.prepare, in the same order")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    texts, items = read_inputs(arguments.inputs)
    held = hold_documents(items, len(texts))
    sources: dict[str, list[Item]] = {}
    for item in items:
        if held[item.document] and item.spans:
            sources.setdefault(item.source, []).append(item)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    chosen = {source: choose(members, texts, rng) for source, members in sorted(sources.items())}
    for kind, names in KINDS.items():
        of_kind = [item for name in names for item in chosen.get(name, [])]
        lines = [make_line(item, number, texts[item.document]) for number, item in enumerate(of_kind)]
        (arguments.out / f"{kind}.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        print(f"{kind}: {len(of_kind)} questions on {len({item.document for item in of_kind})} documents")


if __name__ == "__main__":
    main()
