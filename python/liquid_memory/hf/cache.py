"""What a patched model remembers while it generates: a state of one size for each layer, in transformers' caches."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from ..errors import StateError
from ..state import State


class LiquidCacheLayer(CacheLayerMixin):
    """The state of one layer, in the place of its keys and values."""

    is_sliding = False
    supports_early_init = False

    def __init__(self) -> None:
        super().__init__()
        #: None before the first token.
        self.state: State | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There are no keys and values to make room for."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise StateError("a layer with a state keeps no keys and values; make the cache for the model that uses it")

    def get_seq_length(self) -> int:
        return 0 if self.state is None else max(self.state.tokens)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def offload(self) -> None:
        """Stays where it is: it is small."""

    def prefetch(self) -> None:
        """Is there already."""

    def reset(self) -> None:
        self.state = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.state is not None:
            tokens = [count for count in self.state.tokens for _ in range(repeats)]
            self.state = State(self.state.memory.repeat_interleave(repeats, 0), tokens, self.state.precise)

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.state is not None:
            tokens = [self.state.tokens[row] for row in indices.tolist()]
            self.state = State(self.state.memory[indices.to(self.state.memory.device)], tokens, self.state.precise)

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove:
            raise StateError("a state cannot be taken back to an earlier token; keep a copy of the cache (copy.deepcopy)")


class LiquidCache(DynamicCache):
    """A cache for a patched model: states for the layers that were replaced, keys and values for the others.

    `generate` makes one by itself; make one to go on from a prefix: `model.generate(ids, cache=LiquidCache(model))`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(config=model.config)
        for index in model.config.liquid_memory["layers"]:
            self.layers[index] = LiquidCacheLayer()


def liquid_layer(cache: Cache, index: int) -> LiquidCacheLayer:
    """The state's place for a layer in any of transformers' caches, which puts one there that is still empty."""
    if index == len(cache.layers):
        cache.layers.append(LiquidCacheLayer())
    layer = cache.layers[index]
    if isinstance(layer, LiquidCacheLayer):
        return layer
    if layer.get_seq_length():
        raise StateError(f"the cache holds keys and values for layer {index}, which has a state; pass LiquidCache(model)")
    cache.layers[index] = made = LiquidCacheLayer()
    return made
