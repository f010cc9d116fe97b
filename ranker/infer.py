"""Scores evaluation windows from a file, and writes the logits of windows and units, item by item.

    python -m ranker.infer --weights ranker.safetensors --windows eval_windows.npz --out scores.npz

Input: `ids` (uint16, tokens of all windows), `window_off` ([windows + 1] into ids), `question_ids`, `question_off`,
`item_question` ([items]), `item_window_start`, `item_window_end` ([items], the windows of the item's document), `units`
([units, 2] ranges of a window's tokens), `window_units` ([windows + 1] into units; `unit_off` is accepted as its name).
Output, f16: `window_logit` (a value for each item and window of it), `unit_mean`, `unit_max` (for each unit of these).
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from . import weights
from .corpus import MAX_WINDOW_TOKENS, offsets, shorten
from .model import Ranker
from .rows import Rows, TokenStore, expand
from .scoring import RowUnits, Scores, score_rows

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationWindows:
    """The file's tokens, and a row for each item and window of it."""

    window_tokens: NDArray[np.uint16]
    question_tokens: NDArray[np.uint16]
    rows: Rows
    units: RowUnits

    @classmethod
    def read(cls, path: Path, left: int = 0) -> "EvaluationWindows":
        """Reads the file; questions that are too long lose their middle, windows their end.

        Windows come with up to `left` tokens of the windows before them in the item's document.
        """
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        window_start = arrays["window_off"].astype(np.int64)
        bounds = arrays["question_off"].tolist()
        whole = [arrays["question_ids"][a:b].tolist() for a, b in itertools.pairwise(bounds)]
        questions = [shorten(ids) for ids in whole]
        question_start = offsets(np.array([len(ids) for ids in questions], np.int64))
        unit_start = (arrays["window_units"] if "window_units" in arrays else arrays["unit_off"]).astype(np.int64)
        first = arrays["item_window_start"].astype(np.int64)
        windows = arrays["item_window_end"].astype(np.int64) - first
        window = expand(first, windows)
        question = np.repeat(arrays["item_question"].astype(np.int64), windows)
        rows = Rows(
            question_start[question],
            np.diff(question_start)[question],
            window_start[window],
            np.minimum(np.diff(window_start), MAX_WINDOW_TOKENS)[window],
            np.minimum(window_start[window] - np.repeat(window_start[first], windows), left),
        )
        counts = np.diff(unit_start)[window]
        limit = np.repeat(rows.window_length, counts)
        units = arrays["units"].astype(np.int64).reshape(-1, 2)[expand(unit_start[window], counts)]
        starts, ends = (np.minimum(units[:, side], limit) for side in (0, 1))
        return cls(arrays["ids"], np.concatenate(questions).astype(np.uint16), rows, RowUnits(counts, starts, ends))

    def score(self, model: Ranker, device: torch.device, chunk: int) -> Scores:
        """Scores all rows."""
        store = TokenStore(self.window_tokens, self.question_tokens, device)
        return score_rows(model, store, self.rows, self.units, chunk)


def write_scores(path: Path, scores: Scores) -> None:
    """Writes the output."""
    np.savez_compressed(
        path,
        window_logit=scores.window.astype(np.float16),
        unit_mean=scores.unit_mean.astype(np.float16),
        unit_max=scores.unit_max.astype(np.float16),
    )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--windows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--chunk", type=int, default=32768, help="tokens run at once")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    model = Ranker.from_state(weights.read(arguments.weights)).to(device)
    windows = EvaluationWindows.read(arguments.windows)
    write_scores(arguments.out, windows.score(model, device, arguments.chunk))


if __name__ == "__main__":
    main()
