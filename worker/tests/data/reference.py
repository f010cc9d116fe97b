#!/usr/bin/env python3
"""Writes reference.safetensors: what all-MiniLM-L6-v2 says about the texts of texts.json.

A forward pass in plain numpy (float32, exact GELU), independent of the Rust code that it checks:

    pip install numpy tokenizers
    python reference.py MODEL_FOLDER

Tensors: "sentence" [texts, 384], the mean over all positions at length 1; "tokens.N" [pieces, 384] for the
first three texts, the last hidden states without [CLS] and [SEP].
"""
import json, math, os, struct, sys

import numpy as np
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
LAYERS, HEADS, EPS = 6, 12, 1e-12
erf = np.vectorize(math.erf, otypes=[np.float32])


def read_safetensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    head.pop("__metadata__", None)
    return {k: np.frombuffer(data[slice(*v["data_offsets"])], np.float32).reshape(v["shape"])
            for k, v in head.items() if v["dtype"] == "F32"}


def write_safetensors(path, tensors):
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t.astype("<f4").tobytes() for t in tensors.values()))


class Bert:
    def __init__(self, weights):
        self.w = weights

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + EPS) * self.w[name + ".weight"] + self.w[name + ".bias"]

    def attend(self, x, p):
        q, k, v = (self.linear(x, f"{p}attention.self.{n}").reshape(len(x), HEADS, -1).transpose(1, 0, 2)
                   for n in ("query", "key", "value"))
        a = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(q.shape[-1]))
        a = np.exp(a - a.max(-1, keepdims=True))
        a /= a.sum(-1, keepdims=True)
        return self.linear((a @ v).transpose(1, 0, 2).reshape(len(x), -1), p + "attention.output.dense")

    def forward(self, ids):
        e = "embeddings."
        x = self.w[e + "word_embeddings.weight"][ids] + self.w[e + "position_embeddings.weight"][:len(ids)] \
            + self.w[e + "token_type_embeddings.weight"][0]
        x = self.norm(x, e + "LayerNorm")
        for i in range(LAYERS):
            p = f"encoder.layer.{i}."
            x = self.norm(x + self.attend(x, p), p + "attention.output.LayerNorm")
            h = self.linear(x, p + "intermediate.dense")
            h = (0.5 * h * (1 + erf(h / np.float32(math.sqrt(2))))).astype(np.float32)
            x = self.norm(x + self.linear(h, p + "output.dense"), p + "output.LayerNorm")
        return x.astype(np.float32)


def main():
    folder = sys.argv[1]
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    bert = Bert(read_safetensors(os.path.join(folder, "model.safetensors")))
    with open(os.path.join(HERE, "texts.json"), encoding="utf8") as f:
        texts = json.load(f)
    out, sentences = {}, []
    for n, text in enumerate(texts):
        states = bert.forward(tokenizer.encode(text).ids)
        mean = states.mean(0)
        sentences.append(mean / np.linalg.norm(mean))
        if n < 3:
            out[f"tokens.{n}"] = states[1:-1]
        print(f"{len(states):4} tokens  {text[:60]!r}")
    out["sentence"] = np.stack(sentences)
    write_safetensors(os.path.join(HERE, "reference.safetensors"), out)


if __name__ == "__main__":
    main()
