"""Chooses among rankers of one start and the mean of their weights, by recall on documents kept out of training.

    python -m ranker.choose --data train.npz.xz --weights A/weights.f16.safetensors --weights B/.. --out OUT

OUT gets the weights of the best in f16 pieces, the scores of the mean, and `choose.json` with the recall of each.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import held, infer, weights
from .corpus import Corpus, Prepared
from .model import Ranker
from .rows import TokenStore
from .scoring import score_rows
from .train import HELD_SEED, WEIGHTS

MEAN = "mean"


def mean_state(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the mean of each tensor."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--windows", type=Path, help="evaluation windows to score with the mean (see ranker.infer)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--held", type=int, default=300, help="items of each source")
    parser.add_argument("--held-tokens", type=int, default=1 << 20, help="longer documents are not scored")
    parser.add_argument("--chunk", type=int, default=65536, help="tokens run at once")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    states = {str(path): weights.read(path) for path in arguments.weights}
    if len(states) > 1:
        states[MEAN] = mean_state(list(states.values()))
    corpus = Corpus(Prepared.read(arguments.data))
    store = TokenStore(corpus.prepared.tokens, corpus.prepared.question_tokens, device)
    items = held.choose_items(corpus, arguments.held, arguments.held_tokens, HELD_SEED)
    rows = held.document_rows(corpus, items)
    recalls = {}
    for name, state in states.items():
        model = Ranker.from_state(state).to(device)
        scores = score_rows(model, store, rows.rows, rows.units, arguments.chunk)
        recalls[name] = held.evidence_recall(corpus, rows, scores.unit_mean)
        print(json.dumps({"weights": name, "items": len(items), "recall": recalls[name]}), flush=True)
        if name == MEAN:
            held.write_scores(arguments.out / "mean.held_scores.npz", corpus, rows, scores)
            if arguments.windows:
                evaluation = infer.EvaluationWindows.read(arguments.windows)
                infer.write_scores(
                    arguments.out / "mean.eval_scores.npz", evaluation.score(model, device, arguments.chunk)
                )
    best = max(recalls, key=lambda name: recalls[name]["macro"])
    weights.write_pieces(states[best], arguments.out / WEIGHTS, {"chosen": best})
    (arguments.out / "choose.json").write_text(json.dumps({"chosen": best, "recall": recalls}, indent=2) + "\n")
    print("chosen:", best, flush=True)


if __name__ == "__main__":
    main()
