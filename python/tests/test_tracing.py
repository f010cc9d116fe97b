"""What PyTorch does with a layer: compiling, exporting, recomputing, casting, training."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.testing
from block import EMBED, HEADS, Block
from oracle import error
from torch import nn
from torch.utils.checkpoint import checkpoint

from liquid_memory import LiquidMemory


def test_a_compiled_block_has_no_graph_break_and_the_same_gradients():
    # The default backend takes half a minute to compile: `test_wheel` does it once.
    block, x = Block(), torch.randn(2, 70, EMBED, requires_grad=True)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    leaves = [x, *block.parameters()]
    given, wanted = compiled(x), block(x)
    assert error(given, wanted) < 1e-5
    by = torch.randn_like(given)
    for one, other in zip(torch.autograd.grad(given, leaves, by), torch.autograd.grad(wanted, leaves, by), strict=True):
        assert error(one, other) < 1e-4
    with torch.no_grad():
        assert error(compiled(x), wanted) < 1e-5


def test_other_lengths_do_not_compile_again():
    block = Block()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(block, fullgraph=True, backend=counter, dynamic=True)
    compiled(torch.randn(1, 70, EMBED))
    first = counter.frame_count
    for tokens in (90, 2049, 5000):
        x = torch.randn(1, tokens, EMBED)
        assert error(compiled(x), block(x)) < 1e-5
    assert counter.frame_count == first


@torch.no_grad()
def test_a_compiled_step_goes_on_from_token_to_token():
    made, x = LiquidMemory(EMBED, HEADS, batch_first=True), torch.randn(2, 12, EMBED)
    wanted = made(x, x, x, is_causal=True)[0]
    state = made.new_state(2)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    step = torch.compile(lambda token: made.step(token, state), fullgraph=True, backend=counter)
    given = torch.stack([step(x[:, t]) for t in range(12)], 1)
    assert error(given, wanted) < 1e-5 and counter.frame_count == 1


def test_export():
    block, x = Block().eval(), torch.randn(2, 70, EMBED)
    length = torch.export.Dim("tokens", min=2, max=4096)
    exported = torch.export.export(block, (x,), dynamic_shapes={"x": {1: length}})
    assert any("liquid_memory.gated_delta" in str(node.target) for node in exported.graph.nodes)
    for tokens in (70, 300):
        x = torch.randn(2, tokens, EMBED)
        assert error(exported.module()(x), block(x)) < 1e-5


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_of_a_block_that_is_computed_twice(reentrant):
    block, x = Block(), torch.randn(2, 70, EMBED, requires_grad=True)
    leaves = [x, *block.parameters()]
    wanted = torch.autograd.grad(block(x).square().sum(), leaves)
    checkpoint(block, x, use_reentrant=reentrant).square().sum().backward()
    for leaf, other in zip(leaves, wanted, strict=True):
        assert error(leaf.grad, other) < 1e-5


def test_autocast():
    block, x = Block(), torch.randn(2, 70, EMBED)
    with torch.autocast("cpu", torch.bfloat16):
        y = block.attn(x, x, x, is_causal=True)[0]
        assert y.dtype == torch.bfloat16
        with torch.no_grad():
            assert block.attn(x, x, x, is_causal=True)[0].dtype == torch.bfloat16
            assert block.attn(x, x, x)[0].dtype == torch.bfloat16
    assert error(y, block.attn(x, x, x, is_causal=True)[0]) < 2e-2
    y.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in block.attn.parameters())


def test_opcheck_of_a_layer():
    made = LiquidMemory(EMBED, HEADS)
    weights = [weight.detach() for weight in made._weights()]
    x, state = torch.randn(2, 70, EMBED), made.new_state(2)
    torch.library.opcheck(torch.ops.liquid_memory.layer, (x, state.memory, *weights, 1e-6, True, False))


def test_a_block_learns_to_recall():
    """A pair of tokens, then others, then the first of the pair: what follows it is to be said again."""
    embed = nn.Embedding(12, EMBED)
    block, head = Block(), nn.Linear(EMBED, 12)
    parameters = [*embed.parameters(), *block.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, 1e-2)
    losses = []
    for _ in range(40):
        value = torch.randint(2, 10, (16, 1))
        tokens = torch.cat([value, torch.full((16, 6), 10), torch.full((16, 1), 11)], 1)
        logits = head(block(embed(tokens)))[:, -1]
        loss = nn.functional.cross_entropy(logits, value.squeeze(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1.8 and losses[-1] < 0.1, (losses[0], losses[-1])
