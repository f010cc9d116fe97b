"""The kernels on an NVIDIA GPU, against the recurrence in f64: `python -m pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch
from oracle import draw, error, layer, recurrence
from torch import Tensor, nn

from liquid_memory import LiquidMemory, kernels, ops, rule
from liquid_memory.composite import causal

GPU = torch.cuda.is_available() and torch.cuda.get_device_capability() == kernels.CAPABILITY
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="no NVIDIA GPU of compute capability 9.0")]

#: Relative error of a pass and of gradients in bf16, as in the Rust library's checks.
FORWARD, BACKWARD = 1e-2, 1.5e-2


def on_gpu(inputs: list[Tensor]) -> list[Tensor]:
    """Rows in bf16, gates and states in f32."""
    types = [torch.bfloat16] * 3 + [torch.float32] * 3
    return [tensor.to("cuda", dtype) for tensor, dtype in zip(inputs, types, strict=True)]


def make(embed: int, heads: int, **options: object) -> LiquidMemory:
    torch.manual_seed(embed + heads)
    made = LiquidMemory(embed, heads, batch_first=True, device="cuda", dtype=torch.bfloat16, **options)
    for bias in (made.in_proj_bias, made.out_proj.bias):
        if bias is not None:
            nn.init.normal_(bias, std=0.1)
    return made


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("shape", [(2, 300, 3, 64), (1, 1, 3, 128), (2, 65, 2, 128), (3, 1, 4, 64), (1, 130, 2, 256)])
@pytest.mark.parametrize("precise", [False, True])
def test_the_rule(shape, erase, precise):
    inputs = on_gpu(draw(shape, seed=1))
    wanted = recurrence([tensor.cpu() for tensor in inputs], 0.1, erase)
    given = ops.gated_delta(*inputs, scale=0.1, erase=erase, precise=precise)
    assert error(given[0], wanted[0]) < FORWARD
    assert error(given[1], wanted[1]) < FORWARD


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("shape", [(2, 300, 3, 64), (1, 1, 3, 128), (2, 65, 2, 128), (1, 4200, 1, 64), (1, 130, 2, 256)])
def test_gradients_of_the_rule(shape, erase):
    inputs = on_gpu(draw(shape, seed=2))
    plain = [tensor.detach().cpu().double().requires_grad_() for tensor in inputs]
    wanted = recurrence(plain, 0.1, erase)
    given = [torch.randn_like(tensor) for tensor in wanted]
    by = torch.autograd.grad(wanted, plain, given)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    outputs = ops.gated_delta(*leaves, scale=0.1, erase=erase)
    by_gpu = torch.autograd.grad(
        outputs, leaves, [tensor.to("cuda", output.dtype) for tensor, output in zip(given, outputs, strict=True)]
    )
    for name, one, other in zip(("q", "k", "v", "g", "beta", "state"), by_gpu, by, strict=True):
        assert error(one, other) < BACKWARD, name


def test_rows_are_read_as_they_lie_in_wider_ones():
    batch, tokens, heads, width = 2, 100, 4, 64
    wide = torch.randn(batch, tokens, 3, heads, width, device="cuda", dtype=torch.bfloat16)
    gates = on_gpu(draw((batch, tokens, heads, width)))[3:]
    views = wide.unbind(2)
    assert all(kernels._row_stride(view) == 3 * heads * width for view in views)
    given = ops.gated_delta(*views, *gates, scale=0.1)
    wanted = ops.gated_delta(*(view.contiguous() for view in views), *gates, scale=0.1)
    assert torch.equal(given[0], wanted[0])
    odd = wide[..., :1, :].expand(batch, tokens, 3, heads, width)[:, :, 0]
    assert kernels._row_stride(odd) is None


def _in_pytorch(made: LiquidMemory, x: Tensor) -> Tensor:
    """The layer in PyTorch's operations in bf16, the rule in f32."""

    def rule_in_f32(q, k, v, g, beta, state, *, scale, erase, precise):
        output, last, _ = rule.gated_delta(rule.Inputs(q, k, v, g, beta, state), rule.Options(scale, erase))
        return output, last

    return causal(x, made.new_state(x.shape[0]).memory, made._weights(), made._options(0), rule_in_f32)[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("embed", "heads"), [(256, 4), (512, 8), (1024, 8), (512, 2)])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 1), (20, 1), (2, 301), (1, 7000), (5, 2000)])
@torch.no_grad()
def test_a_layer(embed, heads, bias, batch, tokens):
    made = make(embed, heads, bias=bias)
    x = torch.randn(batch, tokens, embed, device="cuda", dtype=torch.bfloat16)
    y = made(x, x, x, is_causal=True)[0]
    if tokens > 301:
        plain, wide = made.float(), x.float()
        assert error(y, plain(wide, wide, wide, is_causal=True)[0]) < FORWARD
        return
    wanted = layer(dict(made.named_parameters()), x)
    # A first token reads q k v: where its query and key are nearly orthogonal, the norm enlarges what bf16 rounds away.
    limit = FORWARD if tokens > 1 else 1.5 * error(_in_pytorch(made, x), wanted)
    assert error(y, wanted) < limit


@torch.no_grad()
def test_weights_apart_give_what_weights_behind_each_other_give():
    made = make(512, 8)
    assert made.gate_weight.data_ptr() == made.in_proj_weight.data_ptr() + made.in_proj_weight.nbytes
    x = torch.randn(2, 300, 512, device="cuda", dtype=torch.bfloat16)
    together = made(x, x, x, is_causal=True)[0]
    made.gate_weight.data = made.gate_weight.data.clone()
    assert error(made(x, x, x, is_causal=True)[0], together) < 1e-3


@torch.no_grad()
def test_steps_continue_a_prefix():
    made = make(512, 8)
    x = torch.randn(3, 100, 512, device="cuda", dtype=torch.bfloat16)
    whole = made(x, x, x, is_causal=True)[0]
    state = made.new_state(3)
    made.prefill(x[:, :90], state)
    steps = [made.step(x[:, t], state) for t in range(90, 100)]
    assert error(torch.stack(steps, 1), whole[:, 90:]) < FORWARD
    assert state.tokens == [100] * 3


@torch.no_grad()
def test_a_step_in_a_cuda_graph():
    made = make(512, 8)
    x = torch.randn(2, 40, 512, device="cuda", dtype=torch.bfloat16)
    eager, captured = made.new_state(2), made.new_state(2)
    token = torch.zeros(2, 512, device="cuda", dtype=torch.bfloat16)
    made.step(token, captured)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = made.step(token, captured)
    captured.reset()
    for t in range(40):
        token.copy_(x[:, t])
        graph.replay()
        assert torch.equal(output, made.step(x[:, t], eager)), t


@torch.no_grad()
def test_a_long_pass_with_its_second_stream_in_a_cuda_graph():
    made = make(512, 8)
    x = torch.randn(1, 20000, 512, device="cuda", dtype=torch.bfloat16)
    wanted = made(x, x, x, is_causal=True)[0]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = made(x, x, x, is_causal=True)[0]
    output.zero_()
    graph.replay()
    assert torch.equal(output, wanted)


def test_training_a_block_falls_and_agrees_with_f32():
    def block(dtype):
        torch.manual_seed(3)
        attention = LiquidMemory(256, 4, batch_first=True, device="cuda", dtype=dtype)
        return nn.ModuleDict({"attn": attention, "head": nn.Linear(256, 16, device="cuda", dtype=dtype)})

    torch.manual_seed(4)
    x = torch.randn(4, 200, 256, device="cuda")
    labels = torch.randint(16, (4, 200), device="cuda").roll(1, 1)
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = block(dtype)
        optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
        losses[dtype] = []
        for _ in range(30):
            rows = x.to(dtype)
            logits = model["head"](rows + model["attn"](rows, rows, rows, is_causal=True)[0])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[dtype].append(loss.item())
    wide, narrow = losses[torch.float32], losses[torch.bfloat16]
    assert narrow[-1] < 0.8 * narrow[0] and abs(narrow[-1] - wide[-1]) < 0.1 * wide[0], (wide[-1], narrow[-1])


def test_a_compiled_block_trains_without_a_graph_break():
    made = make(256, 4)
    compiled = torch.compile(lambda x: made(x, x, x, is_causal=True)[0], fullgraph=True)
    x = torch.randn(2, 300, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    y, wanted = compiled(x), made(x, x, x, is_causal=True)[0]
    assert error(y, wanted) < FORWARD
    by = torch.randn_like(y)
    parameters = [x, *made.parameters()]
    for one, other in zip(torch.autograd.grad(y, parameters, by), torch.autograd.grad(wanted, parameters, by), strict=True):
        assert error(one, other) < BACKWARD
    with torch.no_grad():
        assert error(compiled(x), wanted) < FORWARD


def test_autocast_runs_on_the_kernels():
    made = make(256, 4).float()
    x = torch.randn(2, 300, 256, device="cuda", requires_grad=True)
    wanted = made(x, x, x, is_causal=True)[0]
    with torch.autocast("cuda", torch.bfloat16):
        given = made(x, x, x, is_causal=True)[0]
    assert given.dtype == torch.bfloat16 and error(given, wanted) < FORWARD
    given.float().square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_opcheck():
    inputs = [tensor.requires_grad_() for tensor in on_gpu(draw((2, 70, 2, 64)))]
    torch.library.opcheck(torch.ops.liquid_memory.gated_delta, (*inputs, 0.1, True, False, True))
    made = make(256, 4)
    x, state = torch.randn(2, 70, 256, device="cuda", dtype=torch.bfloat16), made.new_state(2)
    weights = [None if w is None else w.detach() for w in made._weights()]
    torch.library.opcheck(torch.ops.liquid_memory.layer, (x, state.memory, *weights, 1e-6, True, False))


@torch.no_grad()
def test_precise_mode_is_closer_over_long_sequences():
    inputs = on_gpu(draw((1, 70000, 2, 128), seed=5))
    inputs[3] *= 1e-3
    wide = [tensor.float() for tensor in inputs]
    wanted = ops.gated_delta(*wide, scale=0.1)[0]
    standard, precise = (ops.gated_delta(*inputs, scale=0.1, precise=p)[0] for p in (False, True))
    assert not torch.equal(standard, precise)
    assert error(precise, wanted) < error(standard, wanted) < FORWARD


@torch.no_grad()
def test_an_output_depends_on_no_stream_but_the_current_one():
    made = make(512, 8)
    x = torch.randn(1, 9000, 512, device="cuda", dtype=torch.bfloat16)
    wanted = made(x, x, x, is_causal=True)[0]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        y = made(x, x, x, is_causal=True)[0]
    stream.synchronize()
    assert torch.equal(y, wanted)
