"""Rows of a batch: which question meets which window, and their tokens gathered on the device.

All tokens lie on the device as one flat tensor; a row is four numbers, so a batch costs one gather and no feeding.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .corpus import offsets

Ints = NDArray[np.int64]

PAD, CLS, SEP = 0, 101, 102
SPECIAL_TOKENS = 3  # [CLS] question [SEP] window [SEP]
# Widths of batches are multiples of this: the masks of fused attention are aligned.
WIDTH_STEP = 16


class TokenStore:
    """The tokens of all windows and questions, on the device."""

    def __init__(
        self, window_tokens: NDArray[np.uint16], question_tokens: NDArray[np.uint16], device: torch.device
    ) -> None:
        special = np.array([PAD, CLS, SEP], np.int32)
        flat = np.concatenate([window_tokens.astype(np.int32), question_tokens.astype(np.int32), special])
        self.tokens = torch.from_numpy(flat).to(device)
        self.question_base = len(window_tokens)
        self.special_base = len(window_tokens) + len(question_tokens)
        self.device = device


@dataclass(frozen=True)
class Rows:
    """Where the question and the window of each row lie; questions count from the first question token.

    A window may be read with the tokens before it, its left context: what is said about these counts for nothing.
    """

    question_start: Ints
    question_length: Ints
    window_start: Ints
    window_length: Ints
    left_length: Ints  # tokens of the left context, which end where the window starts

    def __len__(self) -> int:
        return len(self.window_start)

    def lengths(self) -> Ints:
        """Returns the tokens of each row, special ones included."""
        return self.question_length + self.left_length + self.window_length + SPECIAL_TOKENS

    def take(self, order: Ints) -> Self:
        """Returns some of the rows, in this order."""
        return type(self)(*(getattr(self, field.name)[order] for field in fields(self)))


@dataclass(frozen=True)
class Chunk:
    """A run of rows `start..end` of a list sorted by length, that is run at once, `width` tokens wide."""

    start: int
    end: int
    width: int


def chunk_sorted(lengths: Ints, tokens: int) -> list[Chunk]:
    """Cuts rows, shortest first, into chunks of at most `tokens` tokens, padding included (but at least one row)."""
    widths = -(-lengths // WIDTH_STEP) * WIDTH_STEP
    chunks = []
    end = len(lengths)
    while end > 0:
        width = int(widths[end - 1])
        start = max(0, end - max(1, tokens // width))
        chunks.append(Chunk(start, end, width))
        end = start
    return chunks


def split_sorted(lengths: Ints, parts: int) -> list[Chunk]:
    """Cuts rows, shortest first, into at most `parts` chunks, so that the fewest tokens are padding."""
    widths, first = np.unique(-(-lengths // WIDTH_STEP) * WIDTH_STEP, return_index=True)
    bounds = [*first.tolist(), len(lengths)]
    # cost[j]: tokens, padding included, of the rows of the first j widths in as many chunks as the rounds so far.
    cost: list[float] = [0.0] + [np.inf] * len(widths)
    cuts: list[list[int]] = []
    for _ in range(parts):
        chosen = [
            min(range(j + 1), key=lambda i: cost[i] + (bounds[j] - bounds[i]) * widths[j - 1])
            for j in range(len(bounds))
        ]
        cost = [cost[i] + (bounds[j] - bounds[i]) * widths[j - 1] for j, i in enumerate(chosen)]
        cuts.append(chosen)
    chunks = []
    end = len(widths)
    for chosen in reversed(cuts):
        start = chosen[end]
        if start < end:
            chunks.append(Chunk(bounds[start], bounds[end], int(widths[end - 1])))
        end = start
    return chunks[::-1]


@dataclass(frozen=True)
class Batch:
    """A chunk's tensors."""

    ids: Tensor  # [rows, width]
    types: Tensor  # [rows, width]
    mask: Tensor  # [rows, width] true on tokens
    window: Tensor  # [rows, width] true on the window's tokens
    position: Tensor  # [rows, width] position in the store of a window's token; elsewhere of no meaning


class DeviceRows:
    """Rows on the device."""

    def __init__(self, rows: Rows, store: TokenStore) -> None:
        table = np.stack([getattr(rows, field.name) for field in fields(rows)])
        self._table = to_device(table, store.device)
        self._store = store

    def batch(self, chunk: Chunk) -> Batch:
        """Assembles the tokens of a chunk, without waiting for the device."""
        store = self._store
        columns = torch.arange(chunk.width, device=store.device)
        of_chunk = self._table[:, chunk.start : chunk.end, None]
        question_start, question_length, window_start, window_length, left_length = of_chunk.unbind(0)
        first = question_length + 2  # of the left context
        start = first + left_length  # of the window
        last = start + window_length  # the closing [SEP]
        window = (columns >= start) & (columns < last)
        position = window_start + (columns - start)
        question = store.question_base + question_start + (columns - 1)
        special = store.special_base + torch.where(columns == 0, 1, torch.where(columns > last, 0, 2))
        in_question = (columns > 0) & (columns < first - 1)
        in_text = (columns >= first) & (columns < last)
        source = torch.where(in_text, position, torch.where(in_question, question, special))
        mask = columns <= last
        types = ((columns >= first) & mask).long()
        return Batch(store.tokens[source].long(), types, mask, window, position)


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copies an array to the device; on a GPU the copy runs beside the host."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def expand(starts: Ints, counts: Ints) -> Ints:
    """Returns `start, start + 1, ..` for each group, `count` numbers each, one group after the other."""
    return np.repeat(starts - offsets(counts)[:-1], counts) + np.arange(int(counts.sum()))
