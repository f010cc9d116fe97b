"""Compares two files of weights on documents kept out of training: logits of units and windows, and recall.

python -m ranker.agreement --data train.npz.xz --weights RESULTS/weights.f16.safetensors --other MODEL/model.safetensors
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from . import held, weights
from .corpus import Corpus, Prepared
from .model import Ranker
from .rows import TokenStore
from .scoring import Scores, score_rows

SEED = 1


def largest_differences(first: Scores, second: Scores) -> dict[str, float]:
    """Returns the largest difference of each kind of logit."""
    kinds = ("window", "unit_mean", "unit_max")
    return {kind: float(np.abs(getattr(first, kind) - getattr(second, kind)).max()) for kind in kinds}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--items", type=int, default=20, help="items of each source")
    parser.add_argument("--longest", type=int, default=1 << 20, help="tokens of the longest document")
    parser.add_argument("--chunk", type=int, default=4096, help="tokens run at once")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    prepared = Prepared.read(arguments.data)
    corpus = Corpus(prepared)
    store = TokenStore(prepared.tokens, prepared.question_tokens, device)
    rows = held.document_rows(corpus, held.choose_items(corpus, arguments.items, arguments.longest, SEED))
    results = []
    for path in (arguments.weights, arguments.other):
        model = Ranker.from_state(weights.read(path)).to(device)
        results.append(score_rows(model, store, rows.rows, rows.units, arguments.chunk))
        print(path, "recall", held.evidence_recall(corpus, rows, results[-1].unit_mean))
    print(len(rows.items), "items,", len(rows.rows), "windows, largest differences", largest_differences(*results))


if __name__ == "__main__":
    main()
