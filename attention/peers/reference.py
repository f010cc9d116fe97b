"""The gated delta rule as others compute it, for `cargo xtask gpu reference`: inputs and results go into the
safetensors file that is named. `transformers` is the plain PyTorch function of Qwen3-Next, in f32 from the same bf16
numbers; `fla` is flash-linear-attention's kernel. What is missing is left out, and said.

    python3 attention/peers/reference.py FILE"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

B, N, H, D = 2, 1000, 4, 128


def main(path):
    torch.manual_seed(5)
    q, k, v = (torch.randn(B, N, H, D, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    g = F.logsigmoid(torch.randn(B, N, H, device="cuda") + 3)
    beta = torch.rand(B, N, H, device="cuda")
    state = torch.randn(B, H, D, D, device="cuda") * 0.1
    tensors = {"q": q, "k": k, "v": v, "g": g, "beta": beta, "state": state}
    options = {"initial_state": state, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
    try:
        from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

        wide = (x.float() for x in (q, k, v))
        tensors["transformers"], tensors["transformers_state"] = torch_chunk_gated_delta_rule(*wide, g, beta, **options)
    except Exception as error:
        print(f"transformers: {type(error).__name__}: {str(error)[:200]}")
    try:
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        tensors["fla"], tensors["fla_state"] = chunk_gated_delta_rule(q, k, v, g=g, beta=beta, **options)
    except Exception as error:
        print(f"fla: {type(error).__name__}: {str(error)[:200]}")
    save_file({name: tensor.detach().float().contiguous().cpu() for name, tensor in tensors.items()}, path)


main(*sys.argv[1:])
