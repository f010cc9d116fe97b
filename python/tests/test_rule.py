"""The rule in PyTorch's operations, against the recurrence in f64."""

from __future__ import annotations

import pytest
import torch
from oracle import draw, error, recurrence

from liquid_memory import _native, ops, rule
from liquid_memory.composite import FORGOTTEN

SHAPES = [(2, 1, 3, 8), (1, 5, 2, 16), (2, 64, 2, 8), (1, 130, 3, 16), (1, 2049, 1, 8), (1, 4200, 1, 4)]


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradients_in_f64(shape, erase):
    inputs = [tensor.requires_grad_() for tensor in draw(shape, value=6)]
    wanted = recurrence(inputs, 0.3, erase)
    given = ops.gated_delta(*inputs, scale=0.3, erase=erase)
    by = [torch.randn_like(tensor) for tensor in wanted]
    for one, other in zip(given, wanted, strict=True):
        assert error(one, other) < 1e-12
    for name, one, other in zip(
        ("q", "k", "v", "g", "beta", "state"),
        torch.autograd.grad(given, inputs, by),
        torch.autograd.grad(wanted, inputs, by),
        strict=True,
    ):
        assert error(one, other) < 1e-11, name


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)])
def test_types(dtype, limit):
    inputs = draw((2, 200, 2, 32))
    inputs = [tensor.to(dtype) for tensor in inputs[:3]] + [tensor.float() for tensor in inputs[3:]]
    output, last = ops.gated_delta(*inputs, scale=0.2)
    wanted = recurrence(inputs, 0.2, True)
    assert output.dtype == dtype and last.dtype == torch.float32
    assert error(output, wanted[0]) < limit and error(last, wanted[1]) < 2e-6


def test_keys_that_are_alike_do_not_lose_digits():
    inputs = draw((1, 128, 1, 16))
    inputs[1] = inputs[1][:, :1].expand_as(inputs[1]) + 1e-3 * inputs[1]
    inputs[3], inputs[4] = torch.zeros_like(inputs[3]), torch.ones_like(inputs[4])
    wanted = recurrence(inputs, 1.0, True)
    given = ops.gated_delta(*(tensor.float() for tensor in inputs), scale=1.0)
    assert error(given[0], wanted[0]) < 1e-4


def test_gates_that_forget_everything_are_finite():
    inputs = [tensor.float().requires_grad_() for tensor in draw((1, 200, 2, 8))]
    inputs[3].data.fill_(4 * FORGOTTEN)
    outputs = ops.gated_delta(*inputs, scale=1.0)
    by = torch.autograd.grad([output.sum() for output in outputs], inputs)
    assert all(tensor.isfinite().all() for tensor in (*outputs, *by))


def test_a_token_that_writes_nothing_leaves_the_state_as_it_is():
    inputs = [tensor.float() for tensor in draw((1, 70, 2, 8))]
    inputs[3].zero_(), inputs[4].zero_()
    assert torch.equal(ops.gated_delta(*inputs, scale=1.0)[1], inputs[5])


def test_two_passes_give_what_one_gives():
    inputs = [tensor.float() for tensor in draw((2, 300, 2, 16))]
    whole = ops.gated_delta(*inputs, scale=0.2)
    state, outputs = inputs[5], []
    for part in (slice(0, 100), slice(100, 101), slice(101, 300)):
        output, state = ops.gated_delta(*(tensor[:, part] for tensor in inputs[:5]), state, scale=0.2)
        outputs.append(output)
    assert error(torch.cat(outputs, 1), whole[0]) < 1e-6 and error(state, whole[1]) < 1e-6


def test_kernels_and_operations_cut_sequences_alike():
    for tokens in (1, rule.SEGMENT, rule.SEGMENT + 1, 10 * rule.SEGMENT):
        assert _native.segments(tokens) == rule.segments(tokens)


def test_opcheck():
    inputs = [tensor.requires_grad_() for tensor in draw((2, 70, 2, 8))]
    for save in (True, False):
        arguments = [tensor if save else tensor.detach() for tensor in inputs]
        torch.library.opcheck(torch.ops.liquid_memory.gated_delta, (*arguments, 0.3, True, False, save))


def test_gradients_of_a_pass_that_saved_nothing_say_what_to_do():
    inputs = [tensor.requires_grad_() for tensor in draw((1, 5, 1, 4))]
    output = torch.ops.liquid_memory.gated_delta(*inputs, 1.0, True, False, False)[0]
    with pytest.raises(RuntimeError, match="save=True"):
        output.sum().backward()
