"""Reads and writes the weights as safetensors.

Matrices are int8 with a scale a row (`NAME.scale`, the row's largest magnitude over 127), position and type embeddings
f16, all else f32. Names are those of Hugging Face's BERT without the prefix `bert.`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

SCALE = ".scale"
HALF = ("embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight")
HEADS = ("token_head.weight", "window_head.weight")
# A call brings back files of at most 16 MiB: a larger one travels in pieces.
PIECE_BYTES = 15 * 2**20


def quantise(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a [rows, columns] matrix as int8, and the scale of each row."""
    scale = matrix.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (matrix / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the exported file."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach().float().cpu().contiguous()
        if name in HALF:
            packed[name] = value.half()
        elif value.ndim == 2 and name not in HEADS:
            packed[name], packed[name + SCALE] = quantise(value)
        else:
            packed[name] = value
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns all tensors in f32, whatever they were stored as; what a ranker has no use for is left out."""
    state: dict[str, Tensor] = {}
    for stored, tensor in tensors.items():
        name = stored.removeprefix("bert.")
        if name.endswith(SCALE) or name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        scale = tensors.get(stored + SCALE)
        state[name] = tensor.float() if scale is None else tensor.float() * scale[:, None]
    return state


def read(path: Path) -> dict[str, Tensor]:
    """Reads weights in f32; `path` may be a file or the common name of its pieces `path.0`, `path.1`, ..."""
    pieces = [path] if path.exists() else sorted(path.parent.glob(path.name + ".[0-9]"))
    if not pieces:
        raise FileNotFoundError(f"no weights at {path}, nor in pieces {path}.0 and on")
    return unpack(load(b"".join(piece.read_bytes() for piece in pieces)))


def write_packed(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes the exported file."""
    path.write_bytes(save(pack(state), metadata={"format": "pt"}))


def write_pieces(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes all tensors in f16 as `path.0`, `path.1`, ...; each piece replaces an earlier one as a whole."""
    content = save({name: tensor.detach().half().cpu().contiguous() for name, tensor in state.items()}, dict(metadata))
    for number, at in enumerate(range(0, len(content), PIECE_BYTES)):
        part = path.with_name(f"{path.name}.{number}")
        temporary = part.with_name(part.name + ".part")
        temporary.write_bytes(content[at : at + PIECE_BYTES])
        temporary.replace(part)
