"""Softmax attention of a model of transformers replaced by the rule, marked until it was distilled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM

from ..composite import OWN
from ..errors import ConfigError
from .attention import LiquidAttention, Patch, Rotary

#: The layers that can be replaced.
KINDS = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention")
#: What a model's configuration says of attention that needs no mask.
NO_MASK = "liquid_memory"


def patch(model: Any, *, layers: Iterable[int] | None = None, rotary: Rotary = "drop", force: bool = False) -> Any:
    """Replaces `self_attn` of a Llama, Mistral, Qwen2 or Qwen3 by the rule, in place, and returns the model.

    The projections stay as they are, and were trained for softmax: the model gives garbage until it is trained again.
    It trains as it is; outside of training it raises `DistillationError` until `mark_distilled`.

    Args:
        model: A causal language model of transformers.
        layers: The layers to replace, all if none are named. Models keep exact recall with a few layers of softmax.
        rotary: "drop": no positions but those that the gates know, so nothing depends on the length. "keep": queries
            and keys are rotated as before.
        force: Whether it runs before it was distilled.

    Raises:
        ConfigError: Layers of other kinds, or that the model does not have.
    """
    if rotary not in ("keep", "drop"):
        raise ConfigError("rotary", repr(rotary), 'choose "keep" or "drop"')
    blocks = model.base_model.layers
    wanted = list(range(len(blocks))) if layers is None else sorted(set(layers))
    if not wanted or wanted[0] < 0 or wanted[-1] >= len(blocks):
        raise ConfigError("layers", wanted, f"name layers from 0 to {len(blocks) - 1}")
    for index in wanted:
        kind = type(getattr(blocks[index], "self_attn", None)).__name__
        if kind not in KINDS:
            remedy = f"layers that can be replaced are {', '.join(KINDS)}; accelerate(model) is for Qwen3.5 and Qwen3-Next"
            raise ConfigError(f"layers[{index}].self_attn", kind, remedy)
    shared = Patch(force)
    model.config.liquid_memory = {"layers": wanted, "rotary": rotary, "distilled": False}
    for index in wanted:
        blocks[index].self_attn = LiquidAttention(blocks[index].self_attn, shared, rotary)
    model.base_model.register_forward_pre_hook(shared.before_call, with_kwargs=True)
    if len(wanted) == len(blocks):
        # A mask of tokens by tokens, which no layer would read, is not made for attention that transformers does not know.
        model.config._attn_implementation = NO_MASK
    return model


def mark_distilled(model: Any) -> None:
    """Says that a patched model was trained again and may be used; `save_pretrained` keeps the mark."""
    model.config.liquid_memory["distilled"] = True


def load(folder: str | Path, *, force: bool = False, **options: Any) -> Any:
    """Reads a patched model that `save_pretrained` wrote to a folder; `options` go to `from_pretrained`.

    `from_pretrained` alone would make a model with softmax attention of it.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    said = getattr(model.config, "liquid_memory", None)
    if said is None:
        raise ConfigError("folder", folder, "its config.json names no replaced layers; use from_pretrained, then patch")
    patch(model, layers=said["layers"], rotary=said["rotary"], force=force)
    model.config.liquid_memory["distilled"] = said["distilled"]
    _load_own(model, Path(folder))
    return model


def _load_own(model: nn.Module, folder: Path) -> None:
    """Loads the parameters that the original does not have."""
    missing = {name: tensor for name, tensor in model.state_dict().items() if name.rsplit(".", 1)[-1] in OWN}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in missing.keys() & set(weights.keys()):
                missing.pop(name).copy_(weights.get_tensor(name))
    if missing:
        raise ConfigError("folder", folder, f"its weights lack {', '.join(sorted(missing))}; save the patched model again")
