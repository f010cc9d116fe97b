"""The layer in the place of `nn.MultiheadAttention`."""

from __future__ import annotations

import copy
import inspect
import warnings

import pytest
import torch
from oracle import error, layer
from torch import nn

from liquid_memory import (
    AttentionMaskError,
    AttentionWeightsError,
    ConfigError,
    CrossAttentionError,
    LiquidMemory,
    LiquidMemoryError,
    ShapeError,
    StateError,
)

EMBED, HEADS = 32, 4


def make(**options) -> LiquidMemory:
    made = LiquidMemory(EMBED, HEADS, **{"batch_first": True} | options)
    for bias in (made.in_proj_bias, made.out_proj.bias):
        if bias is not None:
            nn.init.normal_(bias, std=0.3)
    nn.init.normal_(made.norm_weight, 1.0, 0.2)
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("records", [True, False])
def test_the_equations(bias, erase, records):
    made = make(bias=bias, erase=erase).double()
    x = torch.randn(2, 70, EMBED, dtype=torch.float64)
    with torch.set_grad_enabled(records):
        y, weights = made(x, x, x, is_causal=True)
    assert weights is None
    assert error(y, layer(dict(made.named_parameters()), x, erase=erase)) < 1e-12


def test_arguments_and_shapes_are_those_of_multihead_attention():
    ours, theirs = (inspect.signature(kind.forward) for kind in (LiquidMemory, nn.MultiheadAttention))
    assert list(ours.parameters) == list(theirs.parameters)
    made = list(inspect.signature(LiquidMemory.__init__).parameters)
    wanted = list(inspect.signature(nn.MultiheadAttention.__init__).parameters)
    assert made[: len(wanted)] == wanted
    for batch_first, shape in ((True, (2, 9, EMBED)), (False, (9, 2, EMBED)), (True, (9, EMBED)), (False, (9, EMBED))):
        x = torch.randn(shape)
        for causal in (True, False):
            softmax = nn.MultiheadAttention(EMBED, HEADS, batch_first=batch_first)
            assert make(batch_first=batch_first)(x, x, x, is_causal=causal)[0].shape == softmax(x, x, x)[0].shape


def test_the_order_of_dimensions_changes_nothing_else():
    made, x = make(), torch.randn(2, 9, EMBED)
    wanted = made(x, x, x, is_causal=True)[0]
    made.batch_first = False
    turned = x.transpose(0, 1)
    assert error(made(turned, turned, turned, is_causal=True)[0].transpose(0, 1), wanted) < 1e-6
    assert error(made.prefill(x[1]), wanted[1]) < 1e-6


def test_the_state_dict_has_the_names_of_multihead_attention():
    softmax = nn.MultiheadAttention(EMBED, HEADS)
    names = set(make().state_dict())
    assert set(softmax.state_dict()) <= names
    assert names - set(softmax.state_dict()) == {"gate_weight", "a_log", "dt_bias", "norm_weight"}
    made = make()
    kept = made.gate_weight.detach().clone()
    with pytest.warns(UserWarning, match="train it before use"):
        made.load_state_dict(softmax.state_dict())
    for name, tensor in softmax.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor)
    assert torch.equal(made.gate_weight, kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().load_state_dict(made.state_dict())
    broken = made.state_dict()
    del broken["a_log"]
    with pytest.raises(RuntimeError, match="a_log"):
        make().load_state_dict(broken)


def test_what_linear_attention_cannot_give_is_an_error_with_a_remedy():
    made, x = make(), torch.randn(2, 9, EMBED)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1)
    with pytest.raises(AttentionWeightsError, match="need_weights=False"):
        made(x, x, x, need_weights=True)
    with pytest.raises(AttentionMaskError, match="is_causal=True"):
        made(x, x, x, attn_mask=mask)
    with pytest.raises(CrossAttentionError, match="same tensor"):
        made(x, x + 1, x)
    with pytest.raises(CrossAttentionError):
        made(x, x, x.clone())
    for options in ({"dropout": 0.1}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8}, {"vdim": 8}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            LiquidMemory(EMBED, HEADS, **options)
    with pytest.raises(ConfigError, match="must divide"):
        LiquidMemory(EMBED, 5)
    for error_type in (AttentionWeightsError, AttentionMaskError, CrossAttentionError, ConfigError, ShapeError):
        assert issubclass(error_type, LiquidMemoryError)
    assert error(made(x, x, x, attn_mask=mask, is_causal=True)[0], made(x, x, x, is_causal=True)[0]) == 0


@pytest.mark.parametrize("shape", [(2, 9, EMBED + 1), (EMBED,), (2, 2, 9, EMBED), (0, 9, EMBED), (2, 0, EMBED)])
def test_shapes_that_do_not_fit_are_named(shape):
    made, x = make(), torch.randn(shape)
    with pytest.raises(ShapeError, match="query has shape"):
        made(x, x, x)
    with pytest.raises(ShapeError):
        made.prefill(x)


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing_and_gives_zeros(records, causal):
    made, x = make(), torch.randn(3, 80, EMBED)
    padding = torch.zeros(3, 80, dtype=torch.bool)
    padding[0, 50:], padding[1, :7], padding[2, 20:30] = True, True, True
    with torch.set_grad_enabled(records):
        y = made(x, x, x, key_padding_mask=padding, is_causal=causal)[0]
        for row, hidden in enumerate(padding):
            alone = x[row, ~hidden]
            assert error(y[row, ~hidden], made(alone, alone, alone, is_causal=causal)[0]) < 1e-5
        as_float = torch.zeros(3, 80).masked_fill(padding, -torch.inf)
        assert torch.equal(made(x, x, x, key_padding_mask=as_float, is_causal=causal)[0], y)
    assert not y[padding].any()
    with pytest.raises(ShapeError, match="key_padding_mask"):
        made(x, x, x, key_padding_mask=padding[:, :5])


def test_without_order_every_token_sees_all():
    made, x = make().double(), torch.randn(1, 6, EMBED, dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    y, turned = made(x, x, x)[0], x[:, order]
    assert error(made(turned, turned, turned)[0], y[:, order]) < 1e-12
    changed = x.clone()
    changed[0, 5] += 1
    assert (made(changed, changed, changed)[0][0, 0] - y[0, 0]).abs().max() > 1e-6


@torch.no_grad()
def test_steps_and_prefills_give_what_a_whole_pass_gives():
    made, x = make(), torch.randn(2, 90, EMBED)
    whole = made(x, x, x, is_causal=True)[0]
    state = made.new_state(2)
    parts = [made.prefill(x[:, :70], state)]
    parts += [made.step(x[:, t], state).unsqueeze(1) for t in range(70, 80)]
    kept = state.clone()
    parts.append(made.prefill(x[:, 80:], state))
    assert error(torch.cat(parts, 1), whole) < 1e-5
    assert state.tokens == [90, 90] and kept.tokens == [80, 80]
    assert error(made.prefill(x[:, 80:], kept), whole[:, 80:]) < 1e-5
    assert state.nbytes == 2 * HEADS * (EMBED // HEADS) ** 2 * 4


@torch.no_grad()
def test_the_modules_own_state_and_resets_of_single_sequences():
    made, x = make(), torch.randn(3, 20, EMBED)
    with pytest.raises(StateError, match="prefill or step"):
        made.reset_state()
    first = made.prefill(x)
    address = made.state.memory.data_ptr()
    made.step(x[:, 0])
    made.reset_state([1])
    assert made.state.tokens == [21, 0, 21]
    again = made.prefill(x)
    assert error(again[1], first[1]) < 1e-6 and error(again[0], first[0]) > 1e-3
    assert made.state.memory.data_ptr() == address
    for wrong in (3, -1):
        with pytest.raises(ShapeError, match="0 to 2"):
            made.reset_state([0, wrong])
    assert made.state.tokens == [41, 20, 41]
    made.state.memory.fill_(torch.inf)
    made.reset_state()
    assert error(made.prefill(x), first) < 1e-6
    with pytest.raises(StateError, match="new_state"):
        made.prefill(x[:2])
    with pytest.raises(ShapeError, match="token"):
        made.step(x)


def test_a_state_carries_gradients_until_it_is_detached():
    made, x = make(), torch.randn(1, 10, EMBED, requires_grad=True)
    state = made.new_state(1)
    made.prefill(x, state)
    assert state.memory.requires_grad and not state.detach().memory.requires_grad
    made.step(x[:, 0].detach(), state).sum().backward()
    assert x.grad.abs().sum() > 0


def test_sequences_of_any_lengths_behind_each_other():
    made = make()
    lengths = [1, 64, 3, 100, 1]
    x = torch.randn(sum(lengths), EMBED, requires_grad=True)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
    given = made.varlen(x, cu_seqlens)
    wanted = torch.cat([made(part, part, part, is_causal=True)[0] for part in x.split(lengths)])
    assert error(given, wanted) < 1e-5
    by = torch.randn_like(given)
    leaves = [x, *made.parameters()]
    for one, other in zip(torch.autograd.grad(given, leaves, by), torch.autograd.grad(wanted, leaves, by), strict=True):
        assert error(one, other) < 1e-4
    # An empty sequence has no token at which to begin.
    assert error(made.varlen(x, torch.tensor([0, 1, 1, 65, 68, 168, 169, 169])), wanted) < 1e-5
    with pytest.raises(ShapeError, match="cu_seqlens"):
        made.varlen(x, torch.tensor([0]))


def test_precise_mode_comes_by_itself_and_is_seen():
    made = make()
    assert not made.is_precise(65_535) and made.is_precise(65_536)
    assert "precise from 65,536" in repr(made)
    state, x = made.new_state(2), torch.randn(2, 3, EMBED)
    state.tokens = [65_530, 0]
    with torch.no_grad():
        made.prefill(x, state)
        assert not state.precise
        made.prefill(x, state)
    assert state.precise and state.tokens == [65_536, 6]
    assert make(precision="precise").is_precise(1) and not make(precision="standard").is_precise(1 << 30)
    with pytest.raises(ConfigError, match="standard"):
        make(precision="high")


def test_a_transformer_encoder_layer_runs_on_it_also_where_it_would_take_its_own_way():
    torch.manual_seed(1)
    block = nn.TransformerEncoderLayer(EMBED, HEADS, 64, dropout=0.0, batch_first=True)
    block.self_attn = make()
    x = torch.randn(2, 30, EMBED)
    mask = nn.Transformer.generate_square_subsequent_mask(30)
    trained = block(x, src_mask=mask, is_causal=True)
    block.eval()
    with torch.no_grad():
        assert error(block(x, src_mask=mask, is_causal=True), trained) < 1e-5
        padding = torch.zeros(2, 30, dtype=torch.bool)
        padding[:, 20:] = True
        given = block(x, src_mask=mask, is_causal=True, src_key_padding_mask=padding)
        assert error(given[:, :20], trained[:, :20]) < 1e-5


def test_copies_and_types():
    made, x = make(), torch.randn(1, 9, EMBED)
    assert torch.equal(copy.deepcopy(made)(x, x, x, is_causal=True)[0], made(x, x, x, is_causal=True)[0])
    for dtype, limit in ((torch.bfloat16, 3e-2), (torch.float64, 1e-5)):
        other = copy.deepcopy(made).to(dtype)
        rows = x.to(dtype)
        y = other(rows, rows, rows, is_causal=True)[0]
        assert y.dtype == dtype and error(y, made(x, x, x, is_causal=True)[0]) < limit
