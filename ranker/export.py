"""Exports weights for the worker: `model.safetensors` in int8, and the manifest beside it.

    python -m ranker.export --weights OUT/weights.f16.safetensors --tokenizer MODEL/tokenizer.json --out FOLDER

`--weights` may be split into pieces (`.0`, `.1`, ..). With base weights it makes the int8 base that travels to the GPU.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from . import weights
from .model import LAYER_NORM_EPSILON, Shape

NAME = "evidence-ranker-l{layers}"


def configuration(shape: Shape) -> dict[str, object]:
    """Returns the sizes under the names of Hugging Face's BERT."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "layer_norm_eps": LAYER_NORM_EPSILON,
        "type_vocab_size": 2,
    }


def export(source: Path, tokenizer: Path, out: Path) -> None:
    """Writes weights, configuration, tokenizer and manifest."""
    out.mkdir(parents=True, exist_ok=True)
    state = weights.read(source)
    weights.write_packed(state, out / "model.safetensors")
    shape = Shape.of(state)
    (out / "config.json").write_text(json.dumps(configuration(shape), indent=2) + "\n")
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    names = ("config.json", "model.safetensors", "tokenizer.json")
    sums = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    (out / "manifest.json").write_text(
        json.dumps({"name": NAME.format(layers=shape.layers), "files": sums}, indent=2) + "\n"
    )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.weights, arguments.tokenizer, arguments.out)


if __name__ == "__main__":
    main()
