"""Makes annual-report notes with tables as plain text, and questions whose evidence is one or two rows or a sentence.

    python -m ranker.tables --out tables.jsonl.xz [--documents 400] [--seed 18]

The format is that of `prepare`'s inputs. All text comes from `table_vocabulary` and a seeded generator.
"""

import argparse
import json
import lzma
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import table_vocabulary as words

Span = tuple[int, int]
ITEMS_A_NOTE = 0.9  # most notes are asked about once


@dataclass(frozen=True)
class Line:
    """A row of a table: what it is called, and its value for each year."""

    label: str
    names: tuple[str, ...]  # in questions, lower case
    values: tuple[int, ...]

    @classmethod
    def draw(cls, entry: str, years: int, rng: random.Random) -> "Line":
        """Draws the values of a line of the vocabulary."""
        label, *names = entry.split(" / ")
        value = rng.choice((30, 400, 2_500, 18_000, 140_000)) * rng.uniform(0.5, 2)
        values = [value := value * rng.uniform(0.6, 1.5) for _ in range(years)]
        sign = -1 if rng.random() < 0.15 else 1
        return cls(label, (lower_first(label), *names), tuple(sign * round(value) for value in values))


@dataclass
class Draft:
    """The text of a document so far, and its items."""

    rng: random.Random
    text: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)

    def add(self, content: str, separator: str = "\n") -> Span:
        """Appends a paragraph, sentence or row, and returns where it is."""
        start = len(self.text)
        self.text += content + separator
        return start, start + len(content)

    def ask(self, wordings: tuple[str, ...], spans: list[Span], **fields: str) -> None:
        """Adds an item; two other wordings become its alternatives."""
        chosen = self.rng.sample(wordings, min(3, len(wordings)))
        question, *others = [upper_first(wording.format(**fields)) for wording in chosen]
        self.items.append({"question": question, "alt": others, "spans": spans})


def lower_first(text: str) -> str:
    """Returns the text with a lower-case first letter."""
    return text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    """Returns the text with an upper-case first letter."""
    return text[:1].upper() + text[1:]


def number_format(rng: random.Random) -> Callable[[int], str]:
    """Chooses how a table writes its numbers."""
    prefix = rng.choice(("", "", "", "$", "$ "))
    brackets = rng.random() < 0.7
    separator = rng.choice((",", ",", ",", " ", ""))

    def write(value: int) -> str:
        digits = f"{abs(value):,}".replace(",", separator)
        if value >= 0:
            return prefix + digits
        return f"{prefix}({digits})" if brackets else f"-{prefix}{digits}"

    return write


def row_format(rng: random.Random) -> Callable[[list[str]], str]:
    """Chooses how a table writes its rows."""
    style = rng.choice(("pipes", "markdown", "spaces", "wide", "tabs"))
    if style == "markdown":
        return lambda cells: "| " + " | ".join(cells) + " |"
    if style == "wide":
        return lambda cells: f"{cells[0]:<44}" + "".join(f"{cell:>14}" for cell in cells[1:])
    return {"pipes": " | ", "spaces": " ", "tabs": "\t"}[style].join


@dataclass(frozen=True)
class Note:
    """A note's table, and where its rows stand."""

    topic: str
    years: list[str]  # newest first
    lines: list[Line]
    spans: list[Span]
    total: Span | None


def write_table(draft: Draft, topic: str, years: list[str]) -> Note:
    """Writes a table on a topic."""
    rng = draft.rng
    entries = rng.sample(words.TOPICS[topic], rng.randint(4, len(words.TOPICS[topic])))
    lines = [Line.draw(entry, len(years), rng) for entry in entries]
    number, row = number_format(rng), row_format(rng)
    unit = rng.choice(words.UNITS)
    if unit and rng.random() < 0.5:
        draft.add(unit)
        unit = ""
    draft.add(row([unit or rng.choice(("", "Year", topic)), *years]))
    spans = [draft.add(row([line.label, *map(number, line.values)])) for line in lines]
    total = None
    if rng.random() < 0.6:
        sums = [sum(column) for column in zip(*(line.values for line in lines), strict=True)]
        total = draft.add(row([rng.choice(("Total", f"Total {lower_first(topic)}")), *map(number, sums)]))
    draft.add("")
    return Note(topic, years, lines, spans, total)


def ask_about_rows(draft: Draft, note: Note) -> None:
    """Adds a question that needs one row, two rows or the total."""
    rng = draft.rng
    first, second = rng.sample(range(len(note.lines)), 2)
    at = rng.randrange(len(note.years) - 1)
    names = {
        "name": rng.choice(note.lines[first].names),
        "other": rng.choice(note.lines[second].names),
        "year": note.years[at],
        "before": note.years[at + 1],
        "topic": lower_first(note.topic),
    }
    names["name_text"] = upper_first(names["name"])
    kind = rng.choice(("row", "row", "row", "change", "change", "pair", "pair", "total"))
    if kind == "pair":
        draft.ask(words.PAIR_QUESTIONS, [note.spans[first], note.spans[second]], **names)
    elif kind == "total" and note.total:
        draft.ask(words.TOTAL_QUESTIONS, [note.total], **names)
    else:
        wordings = words.CHANGE_QUESTIONS if kind == "change" else words.ROW_QUESTIONS
        draft.ask(wordings, [note.spans[first]], **names)


def write_explanation(draft: Draft, note: Note, asked: bool) -> None:
    """Writes a sentence that says why a line changed; asks for it if `asked`."""
    rng = draft.rng
    line = rng.choice(note.lines)
    rises = abs(line.values[0]) >= abs(line.values[1])
    reason = rng.choice(words.REASONS)
    fields = {
        "label": line.label,
        "label_text": lower_first(line.label),
        "name": rng.choice(line.names),
        "moved": "increased" if rises else "decreased",
        "move": "increase" if rises else "decrease",
        "movement": rng.choice(("increase", "rise") if rises else ("decrease", "decline")),
        "change": f"{abs(line.values[0] - line.values[1]):,}",
        "year": note.years[0],
        "before": note.years[1],
        "reason": reason,
        "reason_text": upper_first(reason),
    }
    span = draft.add(rng.choice(words.EXPLANATIONS).format(**fields), " ")
    if asked:
        draft.ask(words.EXPLANATION_QUESTIONS, [span], **fields)


def write_note(draft: Draft, number: int, topic: str, years: list[str], company: str) -> None:
    """Writes a note: heading, sentences, table, sentences; and asks about it."""
    rng = draft.rng
    fields = {
        "topic": lower_first(topic),
        "topic_text": topic,
        "company": company,
        "day": f"{rng.choice(words.DAYS)} {years[0]}",
        "years": str(rng.randint(5, 40)),
        "month": rng.choice(words.MONTHS),
    }
    draft.add(rng.choice((f"Note {number}. {topic}", f"{number}. {topic}", topic.upper(), f"{number} {topic}")))
    kind = rng.choice(("rows", "rows", "rows", "rows", "explanation", "policy"))
    kind = kind if rng.random() < ITEMS_A_NOTE else "none"
    if kind == "policy" or rng.random() < 0.5:
        span = draft.add(rng.choice(words.POLICIES).format(**fields), " ")
        if kind == "policy":
            draft.ask(words.POLICY_QUESTIONS, [span], **fields)
    for filler in rng.sample(words.FILLERS, rng.randint(0, 2)):
        draft.add(filler.format(**fields), " ")
    draft.add(rng.choice(words.INTRODUCTIONS).format(**fields))
    note = write_table(draft, topic, years)
    if kind == "rows":
        ask_about_rows(draft, note)
    for position in range(1 if kind == "explanation" else rng.randint(0, 2)):
        write_explanation(draft, note, asked=kind == "explanation" and position == 0)
    for filler in rng.sample(words.FILLERS, rng.randint(0, 2)):
        draft.add(filler.format(**fields), " ")
    draft.add("\n")


def write_report(rng: random.Random) -> Draft:
    """Writes a report of some notes."""
    draft = Draft(rng)
    name = upper_first("".join(rng.sample(words.SYLLABLES, rng.randint(2, 3))))
    company = f"{name} {rng.choice(words.COMPANY_ENDINGS)}"
    newest = rng.randint(2004, 2024)
    years = [str(newest - back) for back in range(rng.choice((2, 2, 2, 3)))]
    draft.add(f"{company}\nNotes to the financial statements {newest}\n")
    topics = rng.sample(sorted(words.TOPICS), rng.randint(4, 13))
    for number, topic in enumerate(topics, rng.randint(1, 12)):
        write_note(draft, number, topic, years, company)
    return draft


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--seed", type=int, default=18)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    drafts = [write_report(rng) for _ in range(arguments.documents)]
    with lzma.open(arguments.out, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"documents": [draft.text for draft in drafts]}) + "\n")
        rows = [{"source": "tables", "doc": doc, **item} for doc, draft in enumerate(drafts) for item in draft.items]
        for number, row in enumerate(rows):
            file.write(json.dumps({"id": f"tables-{number:05d}", **row}) + "\n")
    print(f"{len(drafts)} documents, {len(rows)} items, {sum(len(draft.text.split()) for draft in drafts)} words")


if __name__ == "__main__":
    main()
