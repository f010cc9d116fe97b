"""The ranker: BERT with a logit for each token ("is this evidence") and one for the window.

Modules are named so that the state has the names of Hugging Face's BERT without the prefix `bert.`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT."""

    vocabulary: int
    positions: int
    hidden: int
    intermediate: int
    layers: int
    heads: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor], head_size: int = 32) -> "Shape":
        """Reads the sizes off the weights; the size of a head is not among them."""
        vocabulary, hidden = state["embeddings.word_embeddings.weight"].shape
        layers = {name.split(".")[2] for name in state if name.startswith("encoder.layer.")}
        return cls(
            vocabulary=vocabulary,
            positions=len(state["embeddings.position_embeddings.weight"]),
            hidden=hidden,
            intermediate=len(state["encoder.layer.0.intermediate.dense.weight"]),
            layers=len(layers),
            heads=hidden // head_size,
        )


class Embeddings(nn.Module):
    """Sum of word, position and type embeddings, normalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.token_type_embeddings = nn.Embedding(2, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, LAYER_NORM_EPSILON)

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        """Embeds [rows, tokens]."""
        positions = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + positions + self.token_type_embeddings(types))


class SelfAttention(nn.Module):
    """Projections of attention over a row; the three run as one product."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden, shape.hidden)
        self.key = nn.Linear(shape.hidden, shape.hidden)
        self.value = nn.Linear(shape.hidden, shape.hidden)
        self.heads = shape.heads

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Attends within each row to the tokens where `mask` [rows, 1, 1, tokens] is true."""
        rows, tokens, hidden = states.shape
        parts = (self.query, self.key, self.value)
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        projected = F.linear(states, weight, bias).view(rows, tokens, 3, self.heads, hidden // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return mixed.transpose(1, 2).reshape(rows, tokens, hidden)


class Output(nn.Module):
    """A product whose result is added to what came before, then normalised."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        """Computes norm(residual + dense(states))."""
        return self.LayerNorm(residual + self.dropout(self.dense(states)))


class Layer(nn.Module):
    """A layer of BERT."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(shape), "output": Output(shape.hidden, shape.hidden, dropout)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(shape.hidden, shape.intermediate)})
        self.output = Output(shape.intermediate, shape.hidden, dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Runs the layer on [rows, tokens, hidden]."""
        states = self.attention["output"](self.attention["self"](states, mask), states)
        return self.output(F.gelu(self.intermediate["dense"](states)), states)


class Ranker(nn.Module):
    """The whole model."""

    def __init__(self, shape: Shape, dropout: float = 0.1) -> None:
        super().__init__()
        self.embeddings = Embeddings(shape)
        layers = [Layer(shape, dropout) for _ in range(shape.layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.token_head = nn.Linear(shape.hidden, 1)
        self.window_head = nn.Linear(shape.hidden, 1)
        self.dropout = nn.Dropout(dropout)
        for head in (self.token_head, self.window_head):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], dropout: float = 0.1) -> "Ranker":
        """Builds the model that the weights describe; heads are new unless they are among the weights."""
        model = cls(Shape.of(state), dropout)
        missing, unexpected = model.load_state_dict(dict(state), strict=False)
        absent = [name for name in missing if not name.startswith(("token_head.", "window_head."))]
        if absent or unexpected:
            raise ValueError(f"weights do not fit a ranker: {absent} are missing, {unexpected} unknown")
        return model

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits [rows, tokens] and [rows] in f32; `mask` [rows, tokens] is true on tokens."""
        return self.logits(self.states(ids, types, mask))

    def states(self, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """Returns the last hidden states [rows, tokens, hidden]."""
        states = self.dropout(self.embeddings(ids, types))
        for layer in self.encoder["layer"].children():
            states = layer(states, mask[:, None, None, :])
        return states

    def logits(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits of last hidden states."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            return self.token_head(states).squeeze(-1), self.window_head(states[:, 0]).squeeze(-1)
