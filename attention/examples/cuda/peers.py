"""What the layer is compared with, on the same machine in the same run: flash-linear-attention's gated delta rule and
PyTorch's flash attention between the same projections, and the projections alone. Needs PyTorch; fla where installed.

    python3 attention/examples/cuda/peers.py [RESULT.json]
"""
import gc
import json
import sys

import torch
import torch.nn.functional as F

E, H = 4096, 32
D = E // H
LENGTHS = (2048, 8192, 32768, 131072)


def milliseconds(run, repeats):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[repeats // 2]


def measure(name, tokens, run, repeats=9):
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    try:
        time = milliseconds(run, repeats)
    except (RuntimeError, torch.OutOfMemoryError) as error:
        print(f"{name:28s} {tokens:>8d} {type(error).__name__}: {str(error)[:120]}", flush=True)
        return None
    extra = (torch.cuda.max_memory_allocated() - before) / 2**30
    print(f"{name:28s} {tokens:>8d} {time:>10.3f} ms {extra:>8.3f} GiB", flush=True)
    return {"name": name, "tokens": tokens, "ms": round(time, 4), "extra_gib": round(extra, 3)}


@torch.no_grad()
def main():
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    try:
        import fla
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        print(f"flash-linear-attention {fla.__version__}")
    except ImportError as error:
        print(f"flash-linear-attention is not here: {error}")
        chunk_gated_delta_rule = None
    weights = [torch.randn(E, E, device="cuda", dtype=torch.bfloat16) * 0.015 for _ in range(4)]
    *inner, output = weights
    results = []
    for tokens in LENGTHS:
        x = torch.randn(1, tokens, E, device="cuda", dtype=torch.bfloat16)
        heads = lambda rows: rows.view(1, tokens, H, D)
        gates = F.logsigmoid(torch.randn(1, tokens, H, device="cuda"))
        strengths = torch.rand(1, tokens, H, device="cuda", dtype=torch.bfloat16)

        def gated_delta():
            q, k, v = (heads(x @ weight) for weight in inner)
            o, _ = chunk_gated_delta_rule(q, k, v, g=gates, beta=strengths, use_qk_l2norm_in_kernel=True)
            return o.reshape(1, tokens, E) @ output

        def flash():
            q, k, v = (heads(x @ weight).transpose(1, 2) for weight in inner)
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return o.transpose(1, 2).reshape(1, tokens, E) @ output

        results.append(measure("projections alone", tokens, lambda: [x @ weight for weight in weights]))
        if chunk_gated_delta_rule:
            results.append(measure("fla gated delta rule", tokens, gated_delta))
        results.append(measure("PyTorch flash attention", tokens, flash, 3))
    if sys.argv[1:]:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            json.dump([result for result in results if result], file, indent=1)


main()
