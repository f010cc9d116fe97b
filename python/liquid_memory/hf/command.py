"""`python -m liquid_memory distill`: a model of a folder patched, distilled on a text, measured and saved."""

from __future__ import annotations

import copy
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from ..errors import ConfigError
from .attention import Rotary
from .distillation import Recipe, distill, divergence
from .patching import mark_distilled, patch

#: Share of the text's rows that is kept for measuring, and batches of them that are read.
HELD_OUT, MEASURED = 0.05, 8


@dataclass(frozen=True)
class Run:
    """What is distilled, on what, and how."""

    model: Path
    text: Path
    out: Path
    layers: list[int] | None
    rotary: Rotary
    tokens: int
    batch: int
    recipe: Recipe
    accept: float | None
    device: str


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", type=Path, required=True, help="folder with the original and its tokenizer")
    parser.add_argument("--text", type=Path, required=True, help="the text to train on, UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="folder for the distilled model")
    parser.add_argument("--layers", type=int, nargs="+", help="layers to replace [default: all]")
    parser.add_argument("--rotary", choices=["drop", "keep"], default="drop")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a row")
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--align-steps", type=int, default=Recipe.align_steps)
    parser.add_argument("--imitate-steps", type=int, default=Recipe.imitate_steps)
    parser.add_argument("--align-rate", type=float, default=Recipe.align_rate)
    parser.add_argument("--imitate-rate", type=float, default=Recipe.imitate_rate)
    parser.add_argument("--accept", type=float, help="mark the model as distilled if it diverges by no more, nats a token")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def run(run: Run, say: Callable[[str], None] = print) -> float:
    """Distils and saves; returns the divergence on rows that were not trained on, in nats a token."""
    teacher = AutoModelForCausalLM.from_pretrained(run.model).to(run.device).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    rows = _rows(tokenizer(run.text.read_text(encoding="utf-8"))["input_ids"], run.tokens)
    kept = max(1, int(len(rows) * HELD_OUT))
    if len(rows) <= kept:
        raise ConfigError("text", run.text, f"has {len(rows)} rows of {run.tokens} tokens; name a longer one")
    torch.manual_seed(0)
    student = patch(copy.deepcopy(teacher), layers=run.layers, rotary=run.rotary)
    distill(student, teacher, _batches(rows[kept:], run.batch, run.device), run.recipe, say=say)
    student.train()
    with torch.no_grad():
        parts = rows[:kept].to(run.device).split(run.batch)[:MEASURED]
        left = sum(divergence(student, teacher, part).item() for part in parts) / len(parts)
    accepted = run.accept is not None and left <= run.accept
    if accepted:
        mark_distilled(student)
    say(f"held-out divergence {left:.4f} nats a token; {'marked' if accepted else 'not marked'} as distilled")
    student.eval().save_pretrained(run.out)
    tokenizer.save_pretrained(run.out)
    return left


def _rows(ids: list[int], tokens: int) -> Tensor:
    """The text in rows of one length; what is left at its end is dropped."""
    count = len(ids) // tokens
    return torch.tensor(ids[: count * tokens]).view(count, tokens)


def _batches(rows: Tensor, size: int, device: str) -> Iterator[Tensor]:
    """Rows in a random order, again and again."""
    while True:
        for indices in torch.randperm(len(rows)).split(size):
            yield rows[indices].to(device)
