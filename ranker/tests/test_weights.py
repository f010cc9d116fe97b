"""Weights written, read back, exported."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ranker import weights
from ranker.export import export
from ranker.model import Ranker

from .conftest import SHAPE


def test_quantised_rows_are_off_by_half_a_step() -> None:
    matrix = torch.randn(20, 50) * torch.logspace(-3, 3, 20)[:, None]
    matrix[3] = 0
    values, scale = weights.quantise(matrix)
    assert values.dtype == torch.int8 and values.abs().amax(1).tolist() == [127] * 3 + [0] + [127] * 16
    error = (values.float() * scale[:, None] - matrix).abs().amax(1)
    assert (error <= matrix.abs().amax(1) / 254 * 1.001).all()


def test_the_export_computes_about_the_same(toy_model: Ranker, tmp_path: Path) -> None:
    weights.write_pieces(toy_model.state_dict(), tmp_path / "w", {"step": "7"})
    (tmp_path / "tokenizer.json").write_text("{}")
    export(tmp_path / "w", tmp_path / "tokenizer.json", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    stored = load_file(tmp_path / "out/model.safetensors")
    assert stored["encoder.layer.0.intermediate.dense.weight"].dtype == torch.int8
    assert stored["encoder.layer.0.intermediate.dense.weight.scale"].shape == (SHAPE.intermediate,)
    assert stored["embeddings.position_embeddings.weight"].dtype == torch.float16
    assert stored["token_head.weight"].shape == (1, SHAPE.hidden)
    assert stored["token_head.weight"].dtype == stored["embeddings.LayerNorm.bias"].dtype == torch.float32
    again = Ranker.from_state(weights.read(tmp_path / "out/model.safetensors")).eval()
    # The heads of the real model split 384 by 32; so do these.
    ids = torch.randint(0, SHAPE.vocabulary, (4, 16))
    inputs = ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        for exact, exported in zip(toy_model(*inputs), again(*inputs), strict=True):
            assert (exact - exported).abs().max() < 0.05 * exact.std()


def test_pieces_are_small_and_join(toy_model: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PIECE_BYTES", 40_000)
    weights.write_pieces(toy_model.state_dict(), tmp_path / "w", {})
    assert len(list(tmp_path.iterdir())) > 2
    assert max(piece.stat().st_size for piece in tmp_path.iterdir()) <= 40_000
    for name, tensor in weights.read(tmp_path / "w").items():
        torch.testing.assert_close(tensor, toy_model.state_dict()[name], atol=2e-3, rtol=1e-3)


def test_weights_of_another_model_are_refused(toy_model: Ranker) -> None:
    state = dict(toy_model.state_dict())
    del state["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ValueError, match="dense.bias"):
        Ranker.from_state(state)
