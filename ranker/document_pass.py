"""Trains a pass over whole documents: layers of bidirectional LiquidAttention over the ranker's unit states.

    python -m ranker.document_pass --states FOLDER --out OUT [--without qmsum --without qmsum_topics] [--layers 0]

FOLDER is what `ranker.unit_states` wrote. A unit's logit is the ranker's mean token logit plus what the pass adds. With
`--layers 0` each unit is seen alone: what more training of the head is worth. Prints the recall of documents kept out
before and after, and writes the logits of `held` and `windows` to OUT.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .corpus import offsets
from .liquid import LiquidAttention
from .losses import TARGET_NO, TARGET_YES
from .unit_states import EXTRAS

Ints = NDArray[np.int64]

WIDTH = 256
HEADS = 4
DROPOUT = 0.1
LISTWISE_WEIGHT = 0.2
UNITS_A_STEP = 16384
BUDGET = 0.1


class Block(nn.Module):
    """Attention over the document, then a product for each unit; both added to what came before."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.product_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = LiquidAttention(WIDTH, HEADS)
        self.product = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Runs the block on [documents, units, WIDTH]."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.product(self.product_norm(x)))


class DocumentPass(nn.Module):
    """From features of units to what is added to their logits."""

    def __init__(self, features: int, layers: int) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(features - EXTRAS)
        self.input = nn.Linear(features, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.alone = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 1)
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Returns logits [documents, units]."""
        states, extras = features.split([features.shape[-1] - EXTRAS, EXTRAS], -1)
        x = self.dropout(self.input(torch.cat([self.input_norm(states), extras], -1)))
        x = x + self.alone(x)
        for block in self.blocks:
            x = block(x, mask)
        return extras[..., 0] + self.head(self.norm(x)).squeeze(-1)


@dataclass(frozen=True)
class States:
    """A file of `ranker.unit_states` on the device."""

    features: Tensor  # [units, ..] f16
    tokens: Tensor  # [units]
    share: Tensor | None  # [units]
    first: Ints  # [items + 1]
    source: Ints
    sources: list[str]

    @classmethod
    def read(cls, folder: Path, name: str, device: torch.device) -> "States":
        """Reads NAME.features.npy and NAME.npz."""
        features = torch.from_numpy(np.load(folder / f"{name}.features.npy")).to(device)
        with np.load(folder / f"{name}.npz") as file:
            share = torch.from_numpy(file["share"]).to(device).float() if "share" in file else None
            tokens = torch.from_numpy(file["tokens"].astype(np.float32)).to(device)
            sources = file["sources"].tolist() if "sources" in file else []
            return cls(features, tokens, share, offsets(file["units"]), file["source"].astype(np.int64), sources)

    def batch(self, items: Ints) -> "Batch":
        """Returns some items, padded to the longest."""
        counts = self.first[items + 1] - self.first[items]
        device = self.features.device
        column = torch.arange(int(counts.max()), device=device)
        count = torch.from_numpy(counts).to(device)[:, None]
        mask = column < count
        at = torch.where(mask, torch.from_numpy(self.first[items]).to(device)[:, None] + column, 0)
        share = self.share[at] * mask if self.share is not None else None
        return Batch(self.features[at].float(), self.tokens[at] * mask, mask, share)


@dataclass(frozen=True)
class Batch:
    """Documents side by side: [documents, units, ..]."""

    features: Tensor
    tokens: Tensor
    mask: Tensor
    share: Tensor | None


def batches(states: States, items: Ints, rng: np.random.Generator | None) -> Iterator[Ints]:
    """Yields items of like length, UNITS_A_STEP units at once, in random order if there is a generator."""
    counts = states.first[items + 1] - states.first[items]
    jitter = rng.uniform(0.8, 1.25, len(items)) if rng else np.ones(len(items))
    order = items[np.argsort(counts * jitter, kind="stable")]
    sizes = states.first[order + 1] - states.first[order]
    groups: list[Ints] = []
    start, longest = 0, 0
    for at, size in enumerate(sizes):
        longest = max(longest, int(size))
        if longest * (at + 1 - start) > UNITS_A_STEP and at > start:
            groups.append(order[start:at])
            start, longest = at, int(size)
    groups.append(order[start:])
    for number in rng.permutation(len(groups)) if rng else range(len(groups)):
        yield groups[number]


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of the units, by their tokens, and of the document's shares of evidence."""
    if batch.share is None:
        raise ValueError("no labels")
    weight = batch.tokens / batch.tokens.sum(1, keepdim=True).clamp(min=1)
    target = TARGET_NO + (TARGET_YES - TARGET_NO) * batch.share
    units = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    evidence = batch.share * batch.tokens
    evidence = evidence / evidence.sum(1, keepdim=True).clamp(min=1e-6)
    tempered = (logits + (batch.tokens + 1e-3).log()).masked_fill(~batch.mask, -torch.inf)
    listwise = -(evidence * tempered.log_softmax(1).masked_fill(~batch.mask, 0)).sum(1)
    return (units * weight).sum(1).mean() + LISTWISE_WEIGHT * listwise.mean()


@torch.no_grad()
def score(model: nn.Module, states: States) -> Tensor:
    """Returns the logits of all units."""
    model.eval()
    logits = torch.zeros(len(states.tokens), device=states.tokens.device)
    for items in batches(states, np.arange(len(states.first) - 1), None):
        batch = states.batch(items)
        found = model(batch.features, batch.mask)
        column = torch.arange(found.shape[1], device=found.device)
        at = torch.from_numpy(states.first[items]).to(found.device)[:, None] + column
        logits[at[batch.mask]] = found[batch.mask]
    model.train()
    return logits


def recall(states: States, logits: Tensor) -> dict[str, float]:
    """Returns the recall of evidence tokens in the best tenth of the tokens: for each source, and the mean."""
    if states.share is None:
        raise ValueError("no labels")
    values, tokens, share = (tensor.cpu().numpy() for tensor in (logits, states.tokens, states.share))
    found: dict[str, list[float]] = {}
    for item, source in enumerate(states.source):
        part = slice(states.first[item], states.first[item + 1])
        best = np.argsort(-values[part], kind="stable")
        sizes, evidence = tokens[part][best], (share[part] * tokens[part])[best]
        taken = np.cumsum(sizes) <= BUDGET * sizes.sum()
        found.setdefault(states.sources[source], []).append(float(evidence[taken].sum() / max(evidence.sum(), 1e-6)))
    means = {name: float(np.mean(part)) for name, part in sorted(found.items())}
    return {"macro": float(np.mean(list(means.values()))), **means}


def train(model: DocumentPass, states: States, items: Ints, arguments: argparse.Namespace) -> int:
    """Trains for a number of epochs or until the time is over; returns the steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=0.05)
    rng = np.random.default_rng(arguments.seed)
    expected = arguments.epochs * count_batches(states, items)
    started = time.time()
    steps = 0
    for epoch in range(arguments.epochs):
        total = torch.zeros((), device=states.tokens.device)
        count = 0
        for chosen in batches(states, items, rng):
            spent = (time.time() - started) / arguments.seconds
            if spent >= 1:
                return steps
            progress = max(spent, steps / expected)
            for group in optimiser.param_groups:
                group["lr"] = arguments.rate * min(1.0, progress / 0.03, max(0.0, 1 - progress) + 0.01)
            batch = states.batch(chosen)
            loss = loss_of(model(batch.features, batch.mask), batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total += loss.detach()
            count += 1
            steps += 1
        loss, seconds = round(float(total) / max(count, 1), 4), round(time.time() - started, 1)
        print(json.dumps({"epoch": epoch, "loss": loss, "seconds": seconds}), flush=True)
    return steps


def count_batches(states: States, items: Ints) -> int:
    """Estimates the steps of an epoch."""
    return 1 + int((states.first[items + 1] - states.first[items]).sum() / (0.85 * UNITS_A_STEP))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", action="append", default=[], help="a source to leave out of training")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=600.0, help="ends training early")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device(arguments.device)
    held = States.read(arguments.states, "held", device)
    training = States.read(arguments.states, "train", device)
    left_out = [training.sources.index(name) for name in arguments.without]
    items = np.flatnonzero(~np.isin(training.source, left_out))
    model = DocumentPass(training.features.shape[1], arguments.layers).to(device)
    before = recall(held, held.features[:, -EXTRAS].float())
    print(json.dumps({"before": before, "items": len(items), "parameters": sum(p.numel() for p in model.parameters())}))
    steps = train(model, training, items, arguments)
    logits = score(model, held)
    print(json.dumps({"after": recall(held, logits), "steps": steps, "without": arguments.without}), flush=True)
    np.savez_compressed(arguments.out / "held.npz", logit=logits.cpu().numpy().astype(np.float16))
    if (arguments.states / "windows.npz").exists():
        windows = States.read(arguments.states, "windows", device)
        found = score(model, windows).cpu().numpy().astype(np.float16)
        np.savez_compressed(arguments.out / "windows.npz", logit=found)
    torch.save(model.state_dict(), arguments.out / "pass.pt")


if __name__ == "__main__":
    main()
