"""The choice among rankers and their mean."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ranker import choose, weights
from ranker.corpus import Prepared
from ranker.model import Ranker

from .conftest import SHAPE
from .test_scoring import make_evaluation_file


def test_the_best_on_documents_kept_out_is_written(
    toy_prepared: Prepared, toy_model: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_prepared.write(tmp_path / "train.npz.xz")
    make_evaluation_file(tmp_path / "windows.npz")
    torch.manual_seed(8)
    other = Ranker(SHAPE)
    torch.nn.init.normal_(other.token_head.weight, std=0.5)
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path, model in zip(paths, (toy_model, other), strict=True):
        weights.write_pieces(model.state_dict(), path, {})
    out = tmp_path / "out"
    options = {"--data": "train.npz.xz", "--windows": "windows.npz", "--out": "out"}
    command = ["choose", *(f"{name}={tmp_path / value}" for name, value in options.items())]
    command += ["--device=cpu", "--held=5", "--chunk=3000", *(f"--weights={path}" for path in paths)]
    monkeypatch.setattr(sys, "argv", command)
    choose.main()
    choice = json.loads((out / "choose.json").read_text())
    assert set(choice["recall"]) == {*map(str, paths), "mean"}
    assert choice["recall"][choice["chosen"]]["macro"] == max(recall["macro"] for recall in choice["recall"].values())
    states = {str(path): weights.read(path) for path in paths}
    states["mean"] = choose.mean_state(list(states.values()))
    name = "encoder.layer.1.output.dense.weight"
    np.testing.assert_allclose(states["mean"][name], (states[str(paths[0])][name] + states[str(paths[1])][name]) / 2)
    written = weights.read(out / "weights.f16.safetensors")
    assert all((written[key] - tensor).abs().max() < 2e-3 for key, tensor in states[choice["chosen"]].items())
    assert (out / "mean.eval_scores.npz").exists() and (out / "mean.held_scores.npz").exists()
