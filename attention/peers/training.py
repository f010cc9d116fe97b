"""The peer of `cargo xtask gpu training`: a training step (forward, gradients by input, projections, log-gates
and strengths) of flash-linear-attention's gated delta rule between the same four projections. One JSON line a length.

    python3 attention/peers/training.py [TOKENS ...]

On Hopper fla refuses its backward pass with Triton 3.4.0 to 3.7.0, whose result would be wrong; with tilelang installed it
takes that for the kernel in question."""
import json
import sys

import torch
import torch.nn.functional as F
from fla.ops.gated_delta_rule import chunk_gated_delta_rule

E, H = 4096, 32
D = E // H


def numbers(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def median(pairs):
    return sorted(pairs)[len(pairs) // 2]


def measure(tokens):
    *inner, output = weights = [(numbers(E, E) * 0.015).requires_grad_() for _ in range(4)]
    x, by_output = numbers(1, tokens, E).requires_grad_(), numbers(1, tokens, E)
    gates = F.logsigmoid(torch.randn(1, tokens, H, device="cuda") + 2).requires_grad_()
    strengths = torch.rand(1, tokens, H, device="cuda", dtype=torch.bfloat16).requires_grad_()
    times = []
    for _ in range(9):
        for leaf in (*weights, x, gates, strengths):
            leaf.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        start, between, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        start.record()
        q, k, v = ((x @ weight).view(1, tokens, H, D) for weight in inner)
        o, _ = chunk_gated_delta_rule(q, k, v, g=gates, beta=strengths, use_qk_l2norm_in_kernel=True)
        y = o.reshape(1, tokens, E) @ output
        between.record()
        y.backward(by_output)
        end.record()
        torch.cuda.synchronize()
        times.append((start.elapsed_time(end), start.elapsed_time(between), between.elapsed_time(end)))
    step, forward, backward = median(times[2:])
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    return {
        "name": "fla gated delta rule, training step",
        "tokens": tokens,
        "ms": round(step, 3),
        "forward_ms": round(forward, 3),
        "backward_ms": round(backward, 3),
        "extra_gib": round(peak, 2),
    }


for tokens in map(int, sys.argv[1:] or ("8192", "32768")):
    try:
        print(json.dumps(measure(tokens)), flush=True)
    except RuntimeError as error:
        print(json.dumps({"tokens": tokens, "skipped": str(error)[:200]}), flush=True)
