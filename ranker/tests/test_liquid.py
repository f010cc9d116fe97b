"""The layer against the recurrence, a token at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ranker.liquid import LiquidAttention, gated_delta


def recurrence(query: Tensor, key: Tensor, value: Tensor, gate: Tensor, strength: Tensor) -> Tensor:
    """Runs the rule of one head over [tokens, width]."""
    state = torch.zeros(key.shape[1], value.shape[1], dtype=query.dtype)
    outputs = []
    for q, k, v, g, b in zip(query, key, value, gate, strength, strict=True):
        state = g.exp() * state
        state = state + b * torch.outer(k, v - k @ state)
        outputs.append(q @ state / key.shape[1] ** 0.5)
    return torch.stack(outputs)


def draw(tokens: int) -> list[Tensor]:
    """Draws the rule's inputs for 2 rows of 3 heads of 8."""
    generator = torch.Generator().manual_seed(tokens)
    query, key, value = (torch.randn(2, 3, tokens, 8, generator=generator, dtype=torch.double) for _ in range(3))
    gate = -torch.rand(2, 3, tokens, generator=generator, dtype=torch.double)
    strength = torch.rand(2, 3, tokens, generator=generator, dtype=torch.double)
    return [F.normalize(query, dim=-1), F.normalize(key, dim=-1), value, gate, strength]


def test_chunks_give_what_the_recurrence_gives() -> None:
    for tokens in (1, 63, 64, 65, 200):
        inputs = draw(tokens)
        output = gated_delta(*inputs)
        for row in range(2):
            for head in range(3):
                expected = recurrence(*(part[row, head] for part in inputs))
                torch.testing.assert_close(output[row, head], expected, rtol=1e-9, atol=1e-12)


def test_padding_changes_nothing_and_every_token_sees_both_sides() -> None:
    torch.manual_seed(1)
    layer = LiquidAttention(32, 4).eval()
    x = torch.randn(1, 90, 32)
    alone = layer(x, torch.ones(1, 90, dtype=torch.bool))
    padded = torch.cat([x, torch.randn(1, 50, 32)], 1)
    mask = torch.arange(140)[None] < 90
    torch.testing.assert_close(layer(padded, mask)[:, :90], alone, rtol=1e-4, atol=1e-5)
    for changed, seen in ((0, 89), (89, 0)):
        other = x.clone()
        other[0, changed] += 1
        moved = layer(other, torch.ones(1, 90, dtype=torch.bool))[0, seen] - alone[0, seen]
        assert moved.abs().max() > 1e-7
