"""LiquidAttention in PyTorch, bidirectional: the layer of the crate `liquid-attention`, with its names and equations.

    q_t, k_t, v_t = x_t W_q, x_t W_k, x_t W_v       q, k of unit length
    g_t = -exp(a_log) softplus(x_t W_a + dt_bias)   log-gate: how much is forgotten
    b_t = sigmoid(x_t W_b)                          strength: how much is written
    S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))
    o_t = q_t S_t / sqrt(dk)

One scan forwards and one backwards, added; then a norm over each head and the output projection. Linear in the
sequence: dense products within chunks, and only the state from one chunk to the next.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 64
NORM_EPSILON = 1e-6


def gated_delta(query: Tensor, key: Tensor, value: Tensor, gate: Tensor, strength: Tensor) -> Tensor:
    """Runs the rule over [batch, heads, tokens, width]; gate and strength are [batch, heads, tokens].

    Tokens with gate and strength 0 leave the state as it is. Queries and keys come with unit length.
    """
    batch, heads, tokens, width = query.shape
    pad = -tokens % CHUNK
    query, key, value = (
        F.pad(x, (0, 0, 0, pad)).view(batch, heads, -1, CHUNK, x.shape[-1]) for x in (query, key, value)
    )
    gate, strength = (F.pad(x, (0, pad)).view(batch, heads, -1, CHUNK) for x in (gate, strength))
    total = gate.cumsum(-1)
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=query.device).tril()
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~lower, -torch.inf).exp()
    written = key * strength[..., None]
    erased = (written @ key.mT * decay).tril(-1)
    identity = torch.eye(CHUNK, dtype=erased.dtype, device=erased.device)
    right = torch.cat([value * strength[..., None], written * total.exp()[..., None]], -1)
    solved = torch.linalg.solve_triangular(identity + erased, right, upper=False, unitriangular=True)
    values, keys = solved.split([value.shape[-1], width], -1)
    scores = query @ key.mT * decay
    reading = query * total.exp()[..., None]
    leaving = key * (total[..., -1:] - total).exp()[..., None]
    kept = total[..., -1].exp()[..., None, None]
    state = query.new_zeros(batch, heads, width, value.shape[-1])
    outputs = []
    for at in range(query.shape[2]):
        new = values[:, :, at] - keys[:, :, at] @ state
        outputs.append(reading[:, :, at] @ state + scores[:, :, at] @ new)
        state = state * kept[:, :, at] + leaving[:, :, at].mT @ new
    output = torch.stack(outputs, 2).reshape(batch, heads, -1, value.shape[-1])
    return output[:, :, :tokens] / width**0.5


class LiquidAttention(nn.Module):
    """A bidirectional layer of `heads` heads."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
        self.gate_a = nn.Linear(d_model, heads, bias=False)
        self.gate_b = nn.Linear(d_model, heads, bias=False)
        self.a_log = nn.Parameter(torch.linspace(1, 16, heads).log())
        # Forgets a hundredth to a tenth a step where the gate's input is 0.
        self.dt_bias = nn.Parameter(torch.logspace(-3, -1, heads).expm1().log())
        self.gamma = nn.Parameter(torch.ones(d_model // heads))
        self.heads = heads

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mixes [batch, tokens, d_model] where `mask` [batch, tokens] is true."""
        batch, tokens, width = x.shape
        query, key, value = (
            part(x).view(batch, tokens, self.heads, -1).transpose(1, 2).float()
            for part in (self.query, self.key, self.value)
        )
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        present = mask[:, None, :].float()
        gate = -self.a_log.exp()[:, None] * F.softplus(self.gate_a(x).mT.float() + self.dt_bias[:, None]) * present
        strength = self.gate_b(x).mT.float().sigmoid() * present
        # Both directions as one batch; padding, which comes first in a turned row, leaves the state empty.
        both = [torch.cat([part, part.flip(2)]) for part in (query, key, value, gate, strength)]
        forwards, backwards = gated_delta(*both).chunk(2)
        mixed = forwards + backwards.flip(2)
        mixed = mixed * (mixed.square().mean(-1, keepdim=True) + NORM_EPSILON).rsqrt() * self.gamma
        return self.output(mixed.transpose(1, 2).reshape(batch, tokens, width).to(x.dtype))
