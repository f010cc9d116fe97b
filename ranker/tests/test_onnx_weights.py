"""Weights of an ONNX graph in a Java archive."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ranker import onnx_weights, weights
from ranker.model import Ranker


def write_archive(state: dict[str, torch.Tensor], path: Path) -> None:
    """Stores products as exporters do: transposed, under numbers, with the bias added on either side."""
    stored, nodes = [], []
    for number, (name, tensor) in enumerate(state.items()):
        array = tensor.numpy()
        if name.startswith("encoder.") and array.ndim == 2:
            bias = name.removesuffix("weight") + "bias"
            nodes.append(helper.make_node("MatMul", [f"x{number}", f"onnx::{number}"], [f"y{number}"]))
            sides = [bias, f"y{number}"] if number % 3 else [f"y{number}", bias]
            nodes.append(helper.make_node("Add", sides, [f"z{number}"]))
            name, array = f"onnx::{number}", np.ascontiguousarray(array.T)
        stored.append(numpy_helper.from_array(array, name))
    stored.append(numpy_helper.from_array(np.arange(9)[None], "embeddings.position_ids"))
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "bert", [], [output], stored)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small.onnx", onnx.helper.make_model(graph).SerializeToString())
        archive.writestr("small-tokenizer.json", "{}")


def test_weights_come_out_under_their_names(toy_model: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {name: tensor for name, tensor in toy_model.state_dict().items() if "_head" not in name}
    write_archive(state, tmp_path / "small.jar")
    monkeypatch.setattr(sys, "argv", ["onnx_weights", str(tmp_path / "small.jar"), str(tmp_path / "out")])
    onnx_weights.main()
    read = weights.read(tmp_path / "out" / "model.safetensors")
    assert set(read) == set(state)
    assert all((read[name] == tensor).all() for name, tensor in state.items())
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_an_archive_with_a_weight_missing_is_refused(
    toy_model: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: tensor for name, tensor in toy_model.state_dict().items() if "_head" not in name}
    del state["encoder.layer.1.output.dense.weight"]
    write_archive(state, tmp_path / "small.jar")
    monkeypatch.setattr(sys, "argv", ["onnx_weights", str(tmp_path / "small.jar"), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="36 tensors of a BERT, 37 expected"):
        onnx_weights.main()
