"""The peer of `liquid-bench decoder`: transformers with SDPA on random weights of the same shape, bf16; single tokens with
a static cache and torch.compile. Reads a task as JSON from standard input, prints a line of JSON a figure."""

import json
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, MistralConfig, StaticCache

WARM_STEPS, STEPS, PREFILLS = 6, 60, 3


def say(name, value):
    print(json.dumps({name: value}), flush=True)


@torch.no_grad()
def prefill(model, count):
    tokens = torch.randint(3, model.config.vocab_size, (1, count), device="cuda")
    seconds = []
    for _ in range(PREFILLS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        model(tokens, use_cache=True, logits_to_keep=1)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return count / sorted(seconds[1:])[PREFILLS // 2]


@torch.no_grad()
def decode(model, batch, context):
    cache = StaticCache(config=model.config, max_cache_len=context + 128)
    for first in range(0, context, 1024):
        positions = torch.arange(first, first + 1024, device="cuda")
        tokens = torch.randint(3, model.config.vocab_size, (batch, 1024), device="cuda")
        model(tokens, past_key_values=cache, cache_position=positions, use_cache=True, logits_to_keep=1)
    step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=False)
    token = torch.zeros(batch, 1, dtype=torch.long, device="cuda")
    position = torch.tensor([context], device="cuda")

    def run(steps):
        for _ in range(steps):
            output = step(token, past_key_values=cache, cache_position=position, use_cache=True)
            token.copy_(output.logits[:, -1:].argmax(-1))
            position.add_(1)
        torch.cuda.synchronize()

    run(WARM_STEPS)
    start = time.perf_counter()
    run(STEPS)
    return batch * STEPS / (time.perf_counter() - start)


def main():
    task = json.load(sys.stdin)
    torch.set_float32_matmul_precision("high")
    config = MistralConfig(**task["config"])
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    say("versions", f"transformers {transformers.__version__}, torch {torch.__version__}, SDPA")
    for count in task["prefill"]:
        say("prefill", prefill(model, count))
        torch.cuda.empty_cache()
    for batch, context in task["decode"]:
        say("decode", decode(model, batch, context))
        torch.cuda.empty_cache()


main()
