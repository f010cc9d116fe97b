"""The model against plain numpy in double precision."""

import math

import numpy as np
import torch

from ranker.model import Ranker

from .conftest import SHAPE

Array = np.ndarray


def reference(model: Ranker, ids: list[int], types: list[int]) -> tuple[Array, float]:
    """Computes the logits of one row without padding."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def linear(x: Array, name: str) -> Array:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)
        return scaled * state[f"{name}.LayerNorm.weight"] + state[f"{name}.LayerNorm.bias"]

    x = state["embeddings.word_embeddings.weight"][ids] + state["embeddings.token_type_embeddings.weight"][types]
    x = norm(x + state["embeddings.position_embeddings.weight"][: len(ids)], "embeddings")
    size = SHAPE.hidden // SHAPE.heads
    for number in range(SHAPE.layers):
        name = f"encoder.layer.{number}"
        query, key, value = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(SHAPE.heads):
            at = slice(head * size, (head + 1) * size)
            weight = np.exp(query[:, at] @ key[:, at].T / math.sqrt(size))
            mixed[:, at] = weight / weight.sum(1, keepdims=True) @ value[:, at]
        x = norm(x + linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output")
        inner = linear(x, f"{name}.intermediate.dense")
        gelu = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(gelu, f"{name}.output.dense"), f"{name}.output")
    return linear(x, "token_head")[:, 0], float(linear(x[:1], "window_head")[0, 0])


def test_logits_follow_the_definition_and_padding_changes_nothing(toy_model: Ranker) -> None:
    rng = np.random.default_rng(9)
    rows = [rng.integers(0, SHAPE.vocabulary, length).tolist() for length in (32, 19, 7)]
    ids, types, mask = (torch.zeros(3, 32, dtype=kind) for kind in (torch.long, torch.long, torch.bool))
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        types[row, 5 : len(tokens)] = 1
        mask[row, : len(tokens)] = True
    with torch.no_grad():
        token, window = toy_model(ids, types, mask)
    for row, tokens in enumerate(rows):
        expected_tokens, expected_window = reference(toy_model, tokens, types[row, : len(tokens)].tolist())
        np.testing.assert_allclose(token[row, : len(tokens)], expected_tokens, atol=2e-5)
        np.testing.assert_allclose(window[row], expected_window, atol=2e-5)


def test_names_are_those_of_hugging_face(toy_model: Ranker) -> None:
    names = set(toy_model.state_dict())
    assert {"embeddings.LayerNorm.weight", "encoder.layer.1.attention.self.query.bias", "token_head.weight"} < names
    assert {"encoder.layer.0.attention.output.LayerNorm.bias", "encoder.layer.0.output.dense.weight"} < names
    assert len(names) == 5 + 16 * SHAPE.layers + 4
