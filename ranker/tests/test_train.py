"""A whole run on the CPU."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ranker import train, weights
from ranker.corpus import Prepared
from ranker.model import Ranker
from ranker.optimise import Average, learning_rate
from ranker.rows import Chunk

from .test_scoring import make_evaluation_file


def make_settings(
    prepared: Prepared, model: Ranker, folder: Path, seconds: float, teachers: tuple[Path, ...] = ()
) -> train.Settings:
    """Writes what a run reads, and returns settings for it."""
    prepared.write(folder / "train.npz.xz")
    base = {name: tensor for name, tensor in model.state_dict().items() if "_head" not in name}
    weights.write_packed(base, folder / "base.safetensors")
    make_evaluation_file(folder / "windows.npz")
    return train.Settings(
        data=folder / "train.npz.xz",
        weights=folder / "base.safetensors",
        out=folder / "out",
        deadline=time.time() + seconds,
        windows=folder / "windows.npz",
        device="cpu",
        seed=1,
        rate=1e-3,
        batch=3000,
        parts=2,
        chunk=3000,
        plan=40,
        validate=3,
        held=4,
        held_seconds=1.0,
        held_tokens=10**6,
        teachers=list(teachers),
        teacher_share=0.7,
        distance_weight=0.1,
        others=3 if teachers else 1,
        without=[],
        left=8,
    )


def test_a_run_learns_and_leaves_its_files(
    toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CLOSING_SECONDS", 1.0)
    monkeypatch.setattr(train, "LOG_SECONDS", 1.0)
    monkeypatch.setattr(train, "SNAPSHOT_SECONDS", 2.0)
    settings = make_settings(toy_prepared, toy_model, tmp_path, seconds=30)
    out = settings.out
    train.run(settings)
    log = [json.loads(line) for line in (out / "train.log").read_text().splitlines()]
    losses = [line["loss"] for line in log if line["event"] == "train"]
    assert losses[-1] < losses[0]
    assert [line["event"] for line in log].count("mined") == len(train.MINING_AT)
    assert [line["event"] for line in log].count("validated") == len(train.MINING_AT) + 2
    assert log[-1]["event"] == "done" and log[-1]["steps"] > 10
    assert sorted(path.name for path in out.iterdir()) == [
        "eval_scores.npz", "held_scores.npz", "train.log", "weights.f16.safetensors.0",
    ]  # fmt: skip
    base = toy_model.state_dict()
    trained = Ranker.from_state(weights.read(out / "weights.f16.safetensors"))
    moved = trained.state_dict()["encoder.layer.0.output.dense.weight"] - base["encoder.layer.0.output.dense.weight"]
    assert moved.abs().max() > 0.01
    scores = np.load(out / "held_scores.npz")
    assert len(scores["window_logit"]) == scores["item_windows"].sum() == len(scores["window_units"])
    assert len(scores["unit_mean"]) == scores["window_units"].sum()


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(1.0, progress) for progress in np.linspace(0, 1, 101)]
    assert rates[0] < 0.05 and max(rates) == pytest.approx(1.0) and rates[-1] == pytest.approx(0.01)
    assert int(np.argmax(rates)) == 5


def test_the_average_follows_the_weights(toy_model: Ranker) -> None:
    average = Average(toy_model)
    expected = toy_model.token_head.weight.detach().clone().double()
    for step in range(1, 6):
        with torch.no_grad():
            toy_model.token_head.weight.add_(step)
        average.update(toy_model)
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * toy_model.token_head.weight.detach().double()
    last = toy_model.token_head.weight.detach().clone()
    average.swap(toy_model)
    torch.testing.assert_close(toy_model.token_head.weight.detach().double(), expected, atol=1e-5, rtol=1e-5)
    average.swap(toy_model)
    assert (toy_model.token_head.weight == last).all()


class Operations(TorchDispatchMode):
    """Notes the names of all operations, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("taught", [False, True])
def test_a_step_never_reads_a_value_back(
    toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path, taught: bool
) -> None:
    teachers = (write_teacher(toy_model, tmp_path),) if taught else ()
    run = train.Run(make_settings(toy_prepared, toy_model, tmp_path, seconds=60, teachers=teachers))
    plan = run.draw()
    placed = run.place(plan)
    with Operations() as operations:
        run.step(plan.steps[0], placed)
    assert {"scatter_reduce_", "searchsorted", "_fused_adamw_", "_foreach_lerp_"} <= operations.names
    assert ("huber_loss" in operations.names) == taught
    assert not {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2"} & operations.names


def test_a_step_in_bf16_is_near_that_in_f32(toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path) -> None:
    run = train.Run(make_settings(toy_prepared, toy_model, tmp_path, seconds=60))
    plan = run.draw()
    placed = run.place(plan)
    for module in run.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    losses = []
    for half in (False, True):
        run.half = half
        losses.append(run.loss(plan.steps[0], placed).item())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def write_teacher(model: Ranker, folder: Path) -> Path:
    """Writes the model in pieces, as a run leaves it."""
    weights.write_pieces(model.state_dict(), folder / "teacher.safetensors", {})
    return folder / "teacher.safetensors"


def test_a_student_comes_near_its_teacher(toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path) -> None:
    """The labels say something else than this teacher; steps move the student towards it."""
    path = write_teacher(toy_model, tmp_path)
    settings = make_settings(toy_prepared, toy_model, tmp_path, seconds=60, teachers=(path,))
    run = train.Run(replace(settings, teacher_share=1.0))
    plan = run.draw()
    placed = run.place(plan)
    chunk = plan.steps[0].chunks[-1]
    batch = placed.rows.batch(Chunk(chunk.start, chunk.end, chunk.width))
    lesson = run.teachers.teach(batch)

    def distance() -> float:
        run.model.eval()
        with torch.no_grad():
            logits = run.model(batch.ids, batch.types, batch.mask)[0]
        return float(((logits - lesson.token_logits) * batch.window).abs().sum() / batch.window.sum())

    before = distance()
    for _ in range(90):
        run.step(plan.steps[0], placed)
    assert distance() < 0.5 * before


def test_only_rows_of_the_own_document_have_labels(toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path) -> None:
    path = write_teacher(toy_model, tmp_path)
    run = train.Run(make_settings(toy_prepared, toy_model, tmp_path, seconds=60, teachers=(path,)))
    plan = run.draw()
    share = run.place(plan).taught_share.tolist()
    starts = run.corpus.document_start
    documents = np.searchsorted(starts, plan.rows.window_start, "right") - 1
    own = documents == toy_prepared.item_document[plan.item]
    assert share == pytest.approx(np.where(own, 0.7, 1.0).tolist())
    assert 0 < (~own).sum() < own.sum()
