"""Trains a ranker until a deadline, then scores evaluation windows and the documents kept out.

    python -m ranker.train --data train.npz.xz --weights base.safetensors --out OUT --deadline UNIX_SECONDS \
        [--teacher WEIGHTS ..]

Everything that a step needs is on the device before the first one; no step waits for the host or is waited for.
Weights go to OUT every 40 s, so that a run that is cut off leaves something.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import held, infer, weights
from .corpus import Corpus, Prepared, label_keys
from .losses import Taught, evidence_labels, row_terms, total_loss
from .mining import mine
from .model import Ranker
from .optimise import LARGEST_GRADIENT_NORM, Average, learning_rate, make_optimiser
from .rows import Chunk, DeviceRows, TokenStore, to_device
from .sampling import Plan, Sampler, Step
from .scoring import Scores, score_rows
from .teachers import Teachers

WEIGHTS = "weights.f16.safetensors"
SNAPSHOT_SECONDS = 40.0
LOG_SECONDS = 10.0
# Shares of the training time at which hard windows are looked for, and what one search may take.
MINING_AT = (0.1, 0.3, 0.5, 0.7)
MINING_UNTIL = 0.9
MINING_SHARE = 0.02
# What is left for writing files at the end, in seconds.
CLOSING_SECONDS = 8.0
# The same documents are scored after every run.
HELD_SEED = 1


@dataclass(frozen=True)
class Settings:
    """What the command is told."""

    data: Path
    weights: Path
    out: Path
    deadline: float  # seconds since 1970
    windows: Path | None  # evaluation windows
    device: str
    seed: int
    rate: float
    batch: int  # tokens of a step
    parts: int  # chunks of a step, each as wide as its longest row
    chunk: int  # tokens scored at once
    plan: int  # groups drawn at once
    validate: int  # items a source scored before training
    held: int  # items a source scored after it
    held_seconds: float
    held_tokens: int  # longer documents are not scored
    teachers: list[Path]
    teacher_share: float  # of the targets of labelled rows
    distance_weight: float  # of the distance from the teachers' logits
    others: int  # windows of other documents in a group
    without: list[str]  # sources that are left out of training
    left: int  # tokens before a window that are read with it


class Log:
    """Prints lines and writes them to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.time()

    def write(self, event: str, **values: Any) -> None:
        """Writes an event with the seconds since the start."""
        line = json.dumps({"seconds": round(time.time() - self._started, 1), "event": event, **values})
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")


@dataclass(frozen=True)
class Placed:
    """A plan on the device."""

    rows: DeviceRows
    item: torch.Tensor  # [rows]
    group: torch.Tensor  # [rows]
    taught_share: torch.Tensor  # [rows] the teachers' share of the targets


class Run:
    """A training run: the data and the model on the device."""

    def __init__(self, settings: Settings) -> None:
        settings.out.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.log = Log(settings.out / "train.log")
        self.device = torch.device(settings.device)
        self.half = self.device.type == "cuda"
        torch.manual_seed(settings.seed)
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans each new shape anew
        torch.backends.cuda.matmul.allow_tf32 = True
        self.model = Ranker.from_state(weights.read(settings.weights)).to(self.device)
        self.corpus = Corpus(Prepared.read(settings.data), settings.left)
        prepared = self.corpus.prepared
        self.store = TokenStore(prepared.tokens, prepared.question_tokens, self.device)
        self.sampler = Sampler(self.corpus, settings.seed, settings.others, settings.without)
        self.teachers = Teachers(settings.teachers, self.device)
        self.stride = len(prepared.tokens)
        items = np.repeat(np.arange(self.corpus.items), prepared.item_spans)
        self.bounds = to_device(label_keys(self.corpus.spans, items, self.stride), self.device)
        self.average = Average(self.model)
        self.optimiser = make_optimiser(self.model, settings.rate)
        self.steps = 0
        self.tokens = 0
        self.log.write("ready", items=self.corpus.items, tokens=self.stride, settings=describe(settings))

    def draw(self) -> Plan:
        """Draws the next batches."""
        return self.sampler.draw(self.settings.plan, self.settings.batch, self.settings.parts)

    def place(self, plan: Plan) -> Placed:
        """Copies a plan to the device."""
        share = np.where(self.corpus.holds(plan.item, plan.rows.window_start), self.settings.teacher_share, 1.0)
        item, group, taught_share = (
            to_device(a, self.device) for a in (plan.item, plan.group, share.astype(np.float32))
        )
        return Placed(DeviceRows(plan.rows, self.store), item, group, taught_share)

    def loss(self, step: Step, placed: Placed) -> torch.Tensor:
        """Computes the loss of a batch; it stays on the device."""
        terms = []
        for chunk in step.chunks:
            at = slice(step.start + chunk.start, step.start + chunk.end)
            batch = placed.rows.batch(Chunk(at.start, at.stop, chunk.width))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                token_logits, window_logits = self.model(batch.ids, batch.types, batch.mask)
            evidence = evidence_labels(batch, placed.item[at], self.bounds, self.stride)
            taught = None
            if len(self.teachers):
                lesson = self.teachers.teach(batch)
                taught = Taught(lesson, placed.taught_share[at], self.settings.distance_weight)
            terms.append(row_terms(token_logits, window_logits, batch.window, evidence, taught))
            self.tokens += (chunk.end - chunk.start) * chunk.width
        return total_loss(terms, placed.group[step.start : step.end], step.groups, self.settings.teacher_share)

    def step(self, step: Step, placed: Placed) -> torch.Tensor:
        """Takes a step on a batch, and returns its loss, still on the device."""
        self.model.train()
        loss = self.loss(step, placed)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT_NORM)
        self.optimiser.step()
        self.average.update(self.model)
        self.steps += 1
        return loss.detach()

    def train(self, end: float, tokens_per_second: float, held_items: infer.Ints) -> None:
        """Trains until `end`; validates on `held_items` after each search for hard windows."""
        started = time.time()
        saved = logged = started
        mined = 0
        losses: list[torch.Tensor] = []
        with ThreadPoolExecutor(1) as drawer:
            pending = drawer.submit(self.draw)
            while time.time() < end:
                plan = pending.result()
                pending = drawer.submit(self.draw)
                placed = self.place(plan)
                for step in plan.steps:
                    now = time.time()
                    if now >= end:
                        break
                    progress = (now - started) / (end - started)
                    for parameters in self.optimiser.param_groups:
                        parameters["lr"] = learning_rate(self.settings.rate, progress)
                    losses.append(self.step(step, placed))
                    if now - logged > LOG_SECONDS:
                        logged = now
                        self.report(losses, now - started)
                        losses = []
                    if now - saved > SNAPSHOT_SECONDS:
                        saved = now
                        self.save()
                    if mined < len(MINING_AT) and MINING_AT[mined] < progress < MINING_UNTIL:
                        mined += 1
                        pending.result()
                        budget = tokens_per_second * MINING_SHARE * (end - started)
                        count = mine(self.model, self.store, self.sampler, budget, self.settings.chunk)
                        pending = drawer.submit(self.draw)
                        self.log.write("mined", items=count, took=round(time.time() - now, 1))
                        self.validate(held_items)
        self.report(losses, time.time() - started)

    def report(self, losses: list[torch.Tensor], seconds: float) -> None:
        """Writes the mean loss since the last report."""
        if losses:
            loss = float(torch.stack(losses).mean())
            rate = self.optimiser.param_groups[0]["lr"]
            speed = round(self.tokens / seconds)
            self.log.write("train", step=self.steps, tokens=self.tokens, speed=speed, loss=round(loss, 5), rate=rate)

    def save(self) -> bool:
        """Writes the averaged weights, unless they are not finite; tells whether it did."""
        self.average.swap(self.model)
        state = self.model.state_dict()
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
        if finite:
            weights.write_pieces(state, self.settings.out / WEIGHTS, {"step": str(self.steps)})
        self.average.swap(self.model)
        self.log.write("saved" if finite else "not finite: kept the weights saved before", step=self.steps)
        return finite

    def validate(self, items: infer.Ints) -> None:
        """Writes the recall of the averaged weights."""
        self.average.swap(self.model)
        self.log.write("validated", recall=self.score_held(items)[2], items=len(items), step=self.steps)
        self.average.swap(self.model)

    def choose_held(self, a_source: int) -> infer.Ints:
        """Chooses items of documents kept out, `a_source` of each source."""
        return held.choose_items(self.corpus, a_source, self.settings.held_tokens, HELD_SEED)

    def score_held(self, items: infer.Ints) -> tuple[held.HeldRows, Scores, dict[str, float]]:
        """Scores whole documents kept out; returns the recall of the model alone too."""
        rows = held.document_rows(self.corpus, items)
        scores = score_rows(self.model, self.store, rows.rows, rows.units, self.settings.chunk)
        return rows, scores, held.evidence_recall(self.corpus, rows, scores.unit_mean)


def describe(settings: Settings) -> dict[str, Any]:
    """Returns the settings as JSON can hold them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return values


def run(settings: Settings) -> None:
    """Validates, trains, saves, scores."""
    run = Run(settings)
    evaluation = infer.EvaluationWindows.read(settings.windows, settings.left) if settings.windows else None
    before = run.choose_held(settings.validate)
    run.score_held(before[:4])  # the first call loads kernels
    started = time.time()
    rows, _, recall = run.score_held(before)
    speed = int(rows.rows.lengths().sum()) / (time.time() - started)
    run.log.write("validated", recall=recall, items=len(before), tokens_per_second=round(speed))
    evaluation_tokens = int(evaluation.rows.lengths().sum()) if evaluation else 0
    reserve = CLOSING_SECONDS + 1.2 * evaluation_tokens / speed + settings.held_seconds
    run.log.write("training", until_deadline=round(settings.deadline - time.time(), 1), reserve=round(reserve, 1))
    run.train(settings.deadline - reserve, speed, before)
    if not run.save():
        raise SystemExit("training diverged; the last finite weights are in the folder")
    run.average.swap(run.model)
    if evaluation:
        scores = evaluation.score(run.model, run.device, settings.chunk)
        infer.write_scores(settings.out / "eval_scores.npz", scores)
        run.log.write("scored", rows=len(scores.window), units=len(scores.unit_mean))
    run.log.write("validated", recall=run.score_held(before)[2], items=len(before), step=run.steps)
    left = min(settings.held_seconds, settings.deadline - time.time() - CLOSING_SECONDS / 2)
    items = held.first_that_fit(run.corpus, run.choose_held(settings.held), left * speed)
    rows, scores, recall = run.score_held(items)
    held.write_scores(settings.out / "held_scores.npz", run.corpus, rows, scores)
    run.log.write("done", recall=recall, items=len(items), steps=run.steps, tokens=run.tokens)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="when all must be done, in seconds since 1970")
    parser.add_argument("--windows", type=Path, help="evaluation windows to score at the end (see ranker.infer)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-4)
    parser.add_argument("--batch", type=int, default=98304)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=65536)
    parser.add_argument("--plan", type=int, default=8000)
    parser.add_argument("--validate", type=int, default=40)
    parser.add_argument("--held", type=int, default=300)
    parser.add_argument("--held-seconds", type=float, default=8.0)
    parser.add_argument("--held-tokens", type=int, default=1 << 20)
    parser.add_argument("--teacher", type=Path, action="append", default=[], dest="teachers", help="may be repeated")
    parser.add_argument("--teacher-share", type=float, default=0.7)
    parser.add_argument("--distance-weight", type=float, default=0.05)
    parser.add_argument("--others", type=int, default=1)
    parser.add_argument("--without", action="append", default=[], metavar="SOURCE", help="may be repeated")
    parser.add_argument("--left", type=int, default=0, help="tokens before a window that are read with it")
    run(Settings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
