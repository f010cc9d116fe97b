#!/usr/bin/env python3
"""Writes ranker.safetensors, a tiny ranker with random weights, and ranker.json, what it says about pairs.

A forward pass in PyTorch (f64), independent of the Rust code that it checks:

    pip install torch safetensors numpy
    python ranker.py

Matrices are int8 with a scale for each row, position and type embeddings f16, all else f32. Of each pair ranker.json
holds the ids of question and window, the window's logit and those of its tokens.
"""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS, POSITIONS, HIDDEN, INNER, LAYERS, HEADS, EPS = 256, 287, 16, 32, 2, 2, 1e-12
CLS, SEP = 101, 102


def random_weights(generator):
    def normal(*shape, std=0.5):
        return torch.randn(*shape, generator=generator) * std

    state = {
        "embeddings.word_embeddings.weight": normal(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": normal(2, HIDDEN),
    }

    def norm(prefix):
        state[prefix + ".weight"], state[prefix + ".bias"] = 1 + normal(HIDDEN, std=0.2), normal(HIDDEN, std=0.2)

    def linear(prefix, outputs, inputs):
        state[prefix + ".weight"], state[prefix + ".bias"] = normal(outputs, inputs), normal(outputs)

    norm("embeddings.LayerNorm")
    for n in range(LAYERS):
        p = f"encoder.layer.{n}."
        for part in ("query", "key", "value"):
            linear(p + "attention.self." + part, HIDDEN, HIDDEN)
        linear(p + "attention.output.dense", HIDDEN, HIDDEN)
        norm(p + "attention.output.LayerNorm")
        linear(p + "intermediate.dense", INNER, HIDDEN)
        linear(p + "output.dense", HIDDEN, INNER)
        norm(p + "output.LayerNorm")
    linear("token_head", 1, HIDDEN)
    linear("window_head", 1, HIDDEN)
    return state


def packed(state):
    """Returns the tensors of the file."""
    tensors = {}
    for name, value in state.items():
        if "position" in name or "token_type" in name:
            tensors[name] = value.half()
        elif value.ndim == 2 and "head" not in name:
            scale = value.abs().amax(1) / 127
            tensors[name] = (value / scale[:, None]).round().to(torch.int8)
            tensors[name + ".scale"] = scale
        else:
            tensors[name] = value
    return tensors


def unpacked(tensors):
    """Returns what the file's tensors stand for, in f64."""
    state = {}
    for name, value in tensors.items():
        if not name.endswith(".scale"):
            scale = tensors.get(name + ".scale")
            state[name] = value.double() if scale is None else value.double() * scale.double()[:, None]
    return state


def rank(w, question, window):
    if len(question) > 64:
        question = question[:24] + question[-40:]
    ids = torch.tensor([CLS, *question, SEP, *window, SEP])
    start = len(question) + 2
    types = (torch.arange(len(ids)) >= start).long()

    def linear(x, name):
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    def norm(x, name):
        return F.layer_norm(x, (HIDDEN,), w[name + ".weight"], w[name + ".bias"], EPS)

    e = "embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][: len(ids)]
    x = norm(x + w[e + "token_type_embeddings.weight"][types], e + "LayerNorm")
    for n in range(LAYERS):
        p = f"encoder.layer.{n}."
        q, k, v = (
            linear(x, p + "attention.self." + part).view(len(ids), HEADS, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(len(ids), HIDDEN)
        x = norm(x + linear(mixed, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        inner = F.gelu(linear(x, p + "intermediate.dense"))
        x = norm(x + linear(inner, p + "output.dense"), p + "output.LayerNorm")
    tokens = linear(x, "token_head").squeeze(-1)[start:-1]
    return linear(x[0], "window_head").item(), tokens.tolist()


def main():
    generator = torch.Generator().manual_seed(1)
    tensors = packed(random_weights(generator))
    save_file(tensors, os.path.join(HERE, "ranker.safetensors"))
    weights = unpacked(tensors)

    def some(count):
        return torch.randint(103, 240, (count,), generator=generator).tolist()

    pairs = []
    for question, windows in ((some(7), (1, 30, 31, 220, 5)), (some(80), (12, 220, 90)), ([], (3,))):
        for length in windows:
            window = some(length)
            logit, tokens = rank(weights, question, window)
            rounded = [round(token, 5) for token in tokens]
            pairs.append({"question": question, "window": window, "logit": round(logit, 5), "tokens": rounded})
    with open(os.path.join(HERE, "ranker.json"), "w", encoding="utf8") as f:
        lines = ",\n".join(json.dumps(pair, separators=(",", ":")) for pair in pairs)
        f.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
