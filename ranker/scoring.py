"""Scores rows without gradients: the window logit, and the mean and maximum token logit of each unit."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .corpus import offsets
from .model import Ranker
from .rows import Chunk, DeviceRows, Rows, TokenStore, chunk_sorted, expand, to_device

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

# Above the width of any row: units of a chunk are told apart by `row * STRIDE + column`.
STRIDE = 1024


@dataclass(frozen=True)
class RowUnits:
    """Units of each row: ranges of its window's tokens; in order, disjoint, possibly empty."""

    counts: Ints  # [rows]
    starts: Ints  # [units] tokens from the window's start
    ends: Ints

    def take(self, order: Ints) -> "RowUnits":
        """Returns the units of some of the rows, in this order."""
        counts = self.counts[order]
        flat = expand(offsets(self.counts)[order], counts)
        return RowUnits(counts, self.starts[flat], self.ends[flat])


@dataclass(frozen=True)
class Scores:
    """Logits of rows, in the order of the rows and their units."""

    window: Floats  # [rows]
    unit_mean: Floats  # [units]; a unit without tokens has its window's mean
    unit_max: Floats


def whole_windows(rows: Rows) -> RowUnits:
    """Returns one unit for each row: all of its window."""
    return RowUnits(np.ones(len(rows), np.int64), np.zeros(len(rows), np.int64), rows.window_length)


@torch.no_grad()
def score_rows(model: Ranker, store: TokenStore, rows: Rows, units: RowUnits, tokens: int) -> Scores:
    """Scores all rows in chunks of about `tokens` tokens."""
    was_training = model.training
    model.eval()
    order = np.argsort(rows.lengths(), kind="stable")
    sorted_rows, sorted_units = rows.take(order), units.take(order)
    device_rows = DeviceRows(sorted_rows, store)
    unit_offset = offsets(sorted_units.counts)
    results = []
    for chunk in chunk_sorted(sorted_rows.lengths(), tokens):
        of_chunk = slice(unit_offset[chunk.start], unit_offset[chunk.end])
        part = RowUnits(
            sorted_units.counts[chunk.start : chunk.end], sorted_units.starts[of_chunk], sorted_units.ends[of_chunk]
        )
        results.append(score_chunk(model, device_rows, chunk, part))
    model.train(was_training)
    window, mean, maximum = (
        torch.cat([result[field] for result in reversed(results)]).cpu().numpy() for field in range(3)
    )
    back = np.argsort(order)
    place = expand(unit_offset[back], units.counts)
    return Scores(window[back], mean[place], maximum[place])


def score_chunk(model: Ranker, rows: DeviceRows, chunk: Chunk, units: RowUnits) -> tuple[torch.Tensor, ...]:
    """Returns the window logits and the units' means and maxima of a chunk."""
    batch = rows.batch(chunk)
    device = batch.ids.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        token_logits, window_logits = model(batch.ids, batch.types, batch.mask)
    row_of_unit = np.repeat(np.arange(len(units.counts)), units.counts)
    starts = to_device(row_of_unit * STRIDE + units.starts, device)
    # One more end, so that a chunk without units has something to look up.
    ends = to_device(np.append(row_of_unit * STRIDE + units.ends, 0), device)
    window = batch.window
    first = window.long().argmax(dim=1, keepdim=True)
    column = torch.arange(chunk.width, device=device) - first
    key = torch.arange(len(units.counts), device=device)[:, None] * STRIDE + column
    owner = torch.searchsorted(starts, key, right=True) - 1
    inside = window & (owner >= 0) & (key < ends[owner.clamp(min=0)])
    # Tokens of no unit go to a slot behind the last unit, which is dropped.
    slot = torch.where(inside, owner, len(starts)).ravel()
    flat = token_logits.ravel()
    sums = flat.new_zeros(len(starts) + 1).index_add_(0, slot, flat)[:-1]
    counts = flat.new_zeros(len(starts) + 1).index_add_(0, slot, torch.ones_like(flat))[:-1]
    maxima = flat.new_full((len(starts) + 1,), -torch.inf).scatter_reduce_(0, slot, flat, "amax")[:-1]
    window_mean = (token_logits * window).sum(1) / window.sum(1).clamp(min=1)
    fallback = window_mean[to_device(row_of_unit, device)]
    mean = torch.where(counts > 0, sums / counts.clamp(min=1), fallback)
    return window_logits, mean, torch.where(counts > 0, maxima, fallback)
