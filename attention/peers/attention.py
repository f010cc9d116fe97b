"""Peers of LiquidAttention, one JSON line a figure: PyTorch's MultiheadAttention and scaled_dot_product_attention, and the
gated delta rule and simple GLA of flash-linear-attention, each between the same four projections. Called by
`cargo xtask bench attention`; runs alone too. What is missing is a line that says so."""
import argparse
import gc
import json
import time

import torch
import torch.nn.functional as F

arguments = argparse.ArgumentParser()
arguments.add_argument("--embed-dim", type=int, default=4096)
arguments.add_argument("--num-heads", type=int, default=32)
arguments.add_argument("--batch-size", type=int, default=1)
arguments.add_argument("--seq-lengths", default="2048,8192,32768,131072")
arguments.add_argument("--dtype", default="bfloat16")
arguments.add_argument("--device", default="cuda")
arguments.add_argument("--runs", type=int, default=7)
a = arguments.parse_args()
cuda = a.device == "cuda"
E, H, B, dtype = a.embed_dim, a.num_heads, a.batch_size, getattr(torch, a.dtype)
D = E // H


def say(name, tokens, **figures):
    print(json.dumps({"name": name, "tokens": tokens, **figures}), flush=True)


def synchronize():
    if cuda:
        torch.cuda.synchronize()


def rest():
    if cuda:
        time.sleep(1)


def rounds(f, calls, runs):
    """Median milliseconds of a call, of several behind each other."""
    times = []
    for _ in range(runs):
        synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            r = f()
            del r
        synchronize()
        times.append((time.perf_counter() - start) / calls * 1e3)
    return sorted(times)[len(times) // 2]


def filling(ms):
    """How many calls of so many milliseconds fill a round."""
    return int(max(1, min(256, 10 / ms)))


def timed(f):
    """As src/benchmark/meter.rs: calls behind each other for about 10 ms, and single calls; slow ones less often. A GPU rests
    before both, and then works for a while until it is as slow as it stays."""
    rounds(f, 1, 1)
    single = rounds(f, 1, 1)
    calls = filling(single)
    if calls > 1:
        calls = filling(rounds(f, calls, 1))
    runs = max(1, min(a.runs, int(5000 / single)))
    rest()
    ms = waited = rounds(f, 1, runs)
    if calls > 1:
        rest()
        ms = rounds(f, calls, runs)
    times = {"ms": ms, "waited_ms": waited}
    if cuda:
        start = time.perf_counter()
        while time.perf_counter() - start < 2:
            rounds(f, calls, 1)
        times["sustained_ms"] = rounds(f, calls, runs)
    return times


def case(name, tokens, f):
    gc.collect()
    extra = None
    try:
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        times = timed(f)
        if cuda:
            extra = (torch.cuda.max_memory_allocated() - before) / 2**30
        say(name, tokens, **times, extra_gib=extra)
    except Exception as error:  # a peer that cannot run is a line of the table, not the end of it
        say(name, tokens, skipped=f"{type(error).__name__}: {str(error)[:120]}")


def heads(t):
    return t.view(B, -1, H, D)


@torch.no_grad()
def main():
    wq, wk, wv, wo = (torch.randn(E, E, device=a.device, dtype=dtype) * E**-0.5 for _ in range(4))
    naive = torch.nn.MultiheadAttention(E, H, batch_first=True, bias=False, device=a.device, dtype=dtype).eval()
    where = torch.cuda.get_device_name() if cuda else "CPU"
    print(json.dumps({"note": f"PyTorch {torch.__version__} on {where}"}), flush=True)
    try:
        import fla

        print(json.dumps({"note": f"flash-linear-attention {fla.__version__}"}), flush=True)
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule
        from fla.ops.simple_gla import chunk_simple_gla
    except Exception as error:
        chunk_gated_delta_rule = None
        say("flash-linear-attention", 0, skipped=f"{type(error).__name__}: {str(error)[:120]}")
    for n in map(int, a.seq_lengths.split(",")):
        x = torch.randn(B, n, E, device=a.device, dtype=dtype)
        case("the four projections alone (PyTorch)", n, lambda: (x @ wq, x @ wk, x @ wv, x @ wo))
        if 3 * B * H * n * n * x.element_size() < 60 * 2**30:
            mask = torch.ones(n, n, dtype=torch.bool, device=a.device).triu(1)
            case("PyTorch MultiheadAttention", n, lambda: naive(x, x, x, attn_mask=mask, need_weights=True)[0])
            del mask
        else:
            say("PyTorch MultiheadAttention", n, skipped="the scores do not fit")

        def sdpa():
            q, k, v = (heads(x @ w).transpose(1, 2) for w in (wq, wk, wv))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return o.transpose(1, 2).reshape(B, n, E) @ wo

        case("PyTorch SDPA", n, sdpa)
        if chunk_gated_delta_rule is None:
            continue
        g = F.logsigmoid(torch.randn(B, n, H, device=a.device)).float()
        beta = torch.rand(B, n, H, device=a.device, dtype=dtype)
        fixed = torch.linspace(-0.001, -0.1, H, device=a.device)

        def gated_delta():
            q, k, v = heads(x @ wq), heads(x @ wk), heads(x @ wv)
            o = chunk_gated_delta_rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)[0]
            return o.reshape(B, n, E) @ wo

        def gla():
            return chunk_simple_gla(heads(x @ wq), heads(x @ wk), heads(x @ wv), g_gamma=fixed)[0].reshape(B, n, E) @ wo

        case("fla gated delta rule", n, gated_delta)
        case("fla simple GLA", n, gla)


main()
