"""The peer of `liquid-bench vram`: memory of a forward pass of transformers with SDPA in bf16. Reads a task as JSON from
standard input, prints a line of JSON a figure."""

import json
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM


def say(name, value):
    print(json.dumps({name: value}), flush=True)


def load(task, device):
    options = {"dtype": torch.bfloat16, "attn_implementation": "sdpa"}
    if task["folder"]:
        return AutoModelForCausalLM.from_pretrained(task["folder"], **options).to(device).eval()
    config = AutoConfig.for_model(**task["config"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, **options).eval()
    model = model.to_empty(device=device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.03, 0.03)
        # Buffers, such as the frequencies of rotary embeddings, are not parameters; their values do not matter here.
        for buffer in model.buffers():
            buffer.fill_(0.01)
    return model


@torch.no_grad()
def forward(model, tokens, every, device):
    row = torch.randint(3, model.config.vocab_size, (1, tokens), device=device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.synchronize()
    start = time.perf_counter()
    output = model(row) if every else model(row, logits_to_keep=1)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    allocated = torch.cuda.max_memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    del output
    return {"tokens": tokens, "allocated": allocated, "device": total - free, "seconds": seconds}


def main():
    task = json.load(sys.stdin)
    device = torch.device(task["device"])
    say("versions", f"transformers {transformers.__version__}, torch {torch.__version__}, SDPA, bf16")
    model = load(task, device)
    forward(model, min(task["lengths"]), task["every"], device)
    for tokens in task["lengths"]:
        say("point", forward(model, tokens, task["every"], device))


main()
