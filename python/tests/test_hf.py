"""Models of transformers on the package: tiny random ones."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from oracle import error

transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")

from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from liquid_memory import (  # noqa: E402
    AttentionMaskError,
    ConfigError,
    DistillationError,
    StateError,
    UnsupportedError,
)
from liquid_memory.__main__ import main  # noqa: E402
from liquid_memory.hf import (  # noqa: E402
    LiquidAttention,
    LiquidCache,
    Recipe,
    accelerate,
    distill,
    load,
    mark_distilled,
    patch,
)

SIZES = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
#: Of hybrids, one layer in two attends to everything; four value heads share two key heads, and are of another width.
HYBRID = {
    "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 12, "full_attention_interval": 2,
}  # fmt: skip
FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": 6, "head_dim": 16},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
}
HYBRIDS = {"qwen3_5_text": {}, "qwen3_next": {"num_experts": 0}}


def make(family: str, spread: float = 1.5, **options):
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, **(SIZES | options))
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        if "conv1d" in name:
            torch.nn.init.normal_(weight, std=0.6)
        elif weight.dim() >= 2:
            torch.nn.init.normal_(weight, std=spread / weight.shape[1] ** 0.5)
    return model.eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(3, 48, shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rotary", ["drop", "keep"])
@torch.no_grad()
def test_a_patched_model_keeps_its_projections_and_reads_in_parts_what_it_reads_at_once(family, rotary):
    original = make(family, **FAMILIES[family])
    model = patch(copy.deepcopy(original), rotary=rotary, force=True)
    assert all(isinstance(layer.self_attn, LiquidAttention) for layer in model.model.layers)
    own = {f"model.layers.{i}.self_attn.{name}" for i in (0, 1) for name in ("gate_weight", "a_log", "dt_bias", "norm_weight")}
    theirs = original.state_dict()
    assert model.state_dict().keys() == theirs.keys() | own
    assert all(torch.equal(model.state_dict()[name], theirs[name]) for name in theirs)
    ids = tokens(2, 30)
    whole = model(ids, use_cache=False).logits
    assert error(whole, original(ids, use_cache=False).logits) > 0.1
    cache = LiquidCache(model)
    parts = [model(part, cache=cache).logits for part in (ids[:, :20], ids[:, 20:21], ids[:, 21:])]
    assert error(torch.cat(parts, 1), whole) < 1e-4
    # Causal: what comes later changes nothing.
    changed = ids.clone()
    changed[:, 20:] = 7
    assert error(model(changed, use_cache=False).logits[:, :20], whole[:, :20]) < 1e-5


@torch.no_grad()
def test_rotary_kept_sees_positions_that_rotary_dropped_does_not():
    ids = tokens(1, 12)
    positions = torch.arange(12)[None]
    for rotary, moves in (("keep", True), ("drop", False)):
        model = patch(make("llama"), rotary=rotary, force=True)
        spread = model(ids, position_ids=3 * positions, use_cache=False).logits
        assert (error(spread, model(ids, use_cache=False).logits) > 1e-3) is moves


@torch.no_grad()
def test_generate_goes_on_from_padded_prompts_and_from_a_cache_and_searches_with_beams():
    model = patch(make("qwen3", **FAMILIES["qwen3"]), force=True)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    ids = tokens(1, 12)
    alone = model.generate(ids, **options)
    # Without a cache every token reads all before it again.
    assert torch.equal(model.generate(ids, use_cache=False, **options), alone)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], 1)
    mask = (padded != 0).long()
    both = model.generate(
        torch.cat([padded, tokens(1, 17)]), attention_mask=torch.cat([mask, torch.ones_like(mask)]), **options
    )
    assert torch.equal(both[:1, 5:], alone)
    cache = LiquidCache(model)
    model(ids[:, :-1], cache=cache)
    assert cache.get_seq_length() == 11
    kept = copy.deepcopy(cache)
    assert torch.equal(model.generate(ids, cache=cache, **options), alone)
    assert torch.equal(model.generate(ids, cache=kept, **options), alone)
    beams = {"num_beams": 3, "num_return_sequences": 3}
    assert torch.equal(model.generate(ids, **beams, **options), model.generate(ids, use_cache=False, **beams, **options))


@torch.no_grad()
def test_some_layers_may_stay_softmax():
    model = patch(make("llama", num_hidden_layers=3), layers=[1], force=True)
    kinds = [type(layer.self_attn).__name__ for layer in model.model.layers]
    assert kinds == ["LlamaAttention", "LiquidAttention", "LlamaAttention"]
    ids = tokens(2, 12)
    whole = model(ids, use_cache=False).logits
    cache = LiquidCache(model)
    parts = [model(part, cache=cache).logits for part in (ids[:, :9], ids[:, 9:])]
    assert error(torch.cat(parts, 1), whole) < 1e-4


def test_a_patched_model_is_refused_until_it_is_distilled_and_trains_meanwhile():
    model, ids = patch(make("llama")), tokens(1, 12)
    with pytest.raises(DistillationError, match="mark_distilled"):
        model(ids)
    with pytest.raises(DistillationError):
        model.generate(ids, max_new_tokens=1)
    model.train()
    model(ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    mark_distilled(model)
    model.generate(ids, max_new_tokens=1)


def test_a_saved_model_is_loaded_with_its_layers_and_its_mark(tmp_path):
    ids = tokens(1, 12)
    for layers, distilled in (([1], False), (None, True)):
        model = patch(make("qwen2"), layers=layers, rotary="keep", force=True)
        if distilled:
            mark_distilled(model)
        folder = tmp_path / str(distilled)
        model.save_pretrained(folder)
        said = json.loads((folder / "config.json").read_text())["liquid_memory"]
        assert said == {"layers": layers or [0, 1], "rotary": "keep", "distilled": distilled}
        again = load(folder)
        if distilled:
            assert error(again(ids).logits, model(ids).logits) < 1e-6
        else:
            with pytest.raises(DistillationError):
                again(ids)
            assert error(load(folder, force=True)(ids).logits, model(ids).logits) < 1e-6
    make("llama").save_pretrained(tmp_path / "softmax")
    with pytest.raises(ConfigError, match="names no replaced layers"):
        load(tmp_path / "softmax")


def test_what_cannot_be_patched_is_named():
    for options, words in (({"layers": [2]}, "layers from 0 to 1"), ({"layers": []}, "layers"), ({"rotary": "no"}, "rotary")):
        with pytest.raises(ConfigError, match=words):
            patch(make("llama"), **options)
    with pytest.raises(ConfigError, match="accelerate"):
        patch(make("qwen3_next", **HYBRID, **HYBRIDS["qwen3_next"]))
    with pytest.raises(ConfigError, match="GatedDeltaNet"):
        accelerate(make("llama"))
    with pytest.raises(ConfigError, match="LiquidAttention"):
        patch(patch(make("llama")))
    model = patch(make("llama"), force=True)
    with pytest.raises(AttentionMaskError):
        model(tokens(1, 4), attention_mask=torch.ones(1, 1, 4, 4))
    cache = LiquidCache(model)
    model(tokens(1, 4), cache=cache)
    with pytest.raises(StateError, match="copy"):
        cache.crop(-1)
    filled = transformers.DynamicCache(config=model.config)
    make("llama")(tokens(1, 4), cache=filled)
    with pytest.raises(StateError, match="LiquidCache"):
        model(tokens(1, 4), cache=filled)


def test_a_patched_model_compiles_without_a_graph_break():
    model, ids = patch(make("llama"), force=True), tokens(2, 12)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert error(compiled(ids, use_cache=False).logits, model(ids, use_cache=False).logits) < 1e-5


def test_distillation_lowers_both_losses():
    # Attention less sharp than elsewhere here: a state of 8 numbers for each key cannot point at one token in 24.
    teacher = make("llama", 0.7)
    student = patch(copy.deepcopy(teacher), force=True)
    # What an earlier call said of padding is not heard.
    student(tokens(1, 24), attention_mask=torch.zeros(1, 24))
    frozen = {name: tensor.clone() for name, tensor in student.state_dict().items() if "self_attn" not in name}

    def batches():
        while True:
            yield torch.randint(3, 48, (4, 24))

    said: list[str] = []
    losses = distill(student, teacher, batches(), Recipe(40, 40, 1e-2, 3e-3), say=said.append)
    for one, limit in ((losses.align, 0.2), (losses.imitate, 0.8)):
        first, last = sum(one[:4]) / 4, sum(one[-4:]) / 4
        assert len(one) == 40 and last < limit * first, (first, last)
    assert said[0].startswith("align") and said[-1].startswith("imitate")
    assert all(torch.equal(student.state_dict()[name], tensor) for name, tensor in frozen.items())
    assert not student.training and all(parameter.requires_grad for parameter in student.parameters())


def test_the_command_distils_a_folder_and_marks_it_if_it_is_good_enough(tmp_path, monkeypatch, capsys):
    letters = "abcdefghijklmnopqrstuvwxyz ."
    vocabulary = {"<unk>": 0} | {letter: index for index, letter in enumerate(letters, 3)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    make("llama", 0.7).save_pretrained(tmp_path / "original")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(tmp_path / "original")
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    command = [
        "liquid_memory", "distill", "--model", tmp_path / "original", "--text", tmp_path / "text", "--tokens", 20,
        "--batch", 4, "--align-steps", 12, "--imitate-steps", 12, "--align-rate", 0.01, "--imitate-rate", 0.003,
    ]  # fmt: skip
    for accept, marked in ((0.0, False), (100.0, True)):
        out = tmp_path / str(marked)
        monkeypatch.setattr("sys.argv", [str(word) for word in [*command, "--accept", accept, "--out", out]])
        main()
        said = capsys.readouterr().out.splitlines()
        steps = [line.split() for line in said if line.startswith("align")]
        assert float(steps[-1][-1]) < float(steps[0][-1]) / 2, said
        assert ("not marked" not in said[-1]) is marked and load(out).config.liquid_memory["distilled"] is marked


@pytest.mark.parametrize("family", HYBRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_an_accelerated_model_gives_the_logits_of_its_original(family, dtype):
    model = make(family, **HYBRID, **HYBRIDS[family]).to(dtype)
    ids = tokens(2, 80)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    wanted, padded = model(ids).logits, model(ids, attention_mask=mask).logits
    text = model.generate(ids[:, :20], max_new_tokens=6, do_sample=False, eos_token_id=None)
    assert accelerate(model) == 1 and accelerate(model) == 1
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    assert error(model(ids).logits, wanted) < limit
    assert error(model(ids, attention_mask=mask).logits[:, 9:], padded[:, 9:]) < limit
    cache = transformers.DynamicCache(config=model.config)
    parts = [model(part, cache=cache).logits for part in (ids[:, :2], ids[:, 2:60], ids[:, 60:61], ids[:, 61:])]
    assert error(torch.cat(parts, 1), wanted) < limit
    if dtype == torch.float32:
        again = model.generate(ids[:, :20], max_new_tokens=6, do_sample=False, eos_token_id=None)
        assert torch.equal(again, text)
    with pytest.raises(UnsupportedError, match="padded rows"):
        model(ids, cu_seq_lens_q=torch.tensor([0, 80]))


def test_an_accelerated_model_has_the_gradients_of_its_original():
    model = make("qwen3_5_text", **HYBRID)
    ids = tokens(1, 70)
    leaves = list(model.parameters())
    wanted = torch.autograd.grad(model(ids, labels=ids).loss, leaves)
    accelerate(model)
    given = torch.autograd.grad(model(ids, labels=ids).loss, leaves)
    for one, other in zip(given, wanted, strict=True):
        assert error(one, other) < 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("family", HYBRIDS)
@torch.no_grad()
def test_an_accelerated_model_runs_on_the_kernels(family, recwarn):
    widths = HYBRID | {"linear_key_head_dim": 128, "linear_value_head_dim": 128}
    model = make(family, **widths, **HYBRIDS[family]).to("cuda", torch.bfloat16)
    ids = tokens(2, 300).cuda()
    wanted = model(ids).logits
    accelerate(model)
    assert error(model(ids).logits, wanted) < 3e-2
    cache = transformers.DynamicCache(config=model.config)
    parts = [model(part, cache=cache).logits for part in (ids[:, :200], ids[:, 200:201], ids[:, 201:])]
    assert error(torch.cat(parts, 1), wanted) < 3e-2
    assert not [warned for warned in recwarn if "PyTorch's own operations" in str(warned.message)]


@pytest.mark.gpu
@torch.no_grad()
def test_a_patched_model_runs_on_the_kernels(recwarn):
    model = patch(make("qwen3", head_dim=128), force=True)
    ids = tokens(2, 300)
    wanted = model(ids).logits
    model.to("cuda", torch.bfloat16)
    assert error(model(ids.cuda()).logits, wanted) < 5e-2
    assert model.generate(ids[:, :20].cuda(), max_new_tokens=6).is_cuda
    assert not [warned for warned in recwarn if "PyTorch's own operations" in str(warned.message)]
