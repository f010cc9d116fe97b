"""Batches against rows put together one by one."""

import itertools

import numpy as np
import torch

from ranker.rows import CLS, PAD, SEP, WIDTH_STEP, DeviceRows, Rows, TokenStore, chunk_sorted, split_sorted


def make_rows(count: int) -> tuple[np.ndarray, np.ndarray, Rows]:
    rng = np.random.default_rng(4)
    windows, questions = (rng.integers(200, 60_000, size).astype(np.uint16) for size in (900, 90))
    lengths = np.sort(rng.integers(0, 60, count))
    left = rng.integers(0, 20, count)
    rows = Rows(rng.integers(0, 80, count), rng.integers(0, 10, count), rng.integers(20, 840, count), lengths, left)
    return windows, questions, rows.take(np.argsort(rows.lengths()))


def test_batches_hold_question_and_window() -> None:
    windows, questions, rows = make_rows(40)
    device_rows = DeviceRows(rows, TokenStore(windows, questions, torch.device("cpu")))
    seen = 0
    for chunk in chunk_sorted(rows.lengths(), 500):
        batch = device_rows.batch(chunk)
        assert batch.ids.shape == (chunk.end - chunk.start, chunk.width)
        for number, row in enumerate(range(chunk.start, chunk.end)):
            start, length = rows.question_start[row], rows.question_length[row]
            question = questions[start : start + length].tolist()
            start, length = rows.window_start[row], rows.window_length[row]
            left = rows.left_length[row]
            text = windows[start - left : start + length].tolist()
            tokens = [CLS, *question, SEP, *text, SEP]
            padding = chunk.width - len(tokens)
            types = [0] * (len(question) + 2) + [1] * (len(text) + 1) + [0] * padding
            assert batch.ids[number].tolist() == tokens + [PAD] * padding
            assert batch.types[number].tolist() == types
            assert batch.mask[number].tolist() == [True] * len(tokens) + [False] * padding
            assert batch.ids[number][batch.window[number]].tolist() == text[left:]
            position = batch.position[number][batch.window[number]].tolist()
            assert position == list(range(start, start + length))
            seen += 1
    assert seen == len(rows)


def test_chunks_stay_within_their_tokens() -> None:
    lengths = np.sort(np.random.default_rng(1).integers(5, 280, 300))
    chunks = chunk_sorted(lengths, 4000)
    assert sorted(row for chunk in chunks for row in range(chunk.start, chunk.end)) == list(range(300))
    for chunk in chunks:
        assert (chunk.end - chunk.start) * chunk.width <= 4000
        assert lengths[chunk.end - 1] <= chunk.width < lengths[chunk.end - 1] + WIDTH_STEP


def test_splits_have_the_least_padding() -> None:
    lengths = np.sort(np.random.default_rng(7).integers(5, 100, 40))
    padded = -(-lengths // WIDTH_STEP) * WIDTH_STEP
    cuts = np.unique(padded, return_index=True)[1][1:]
    best = min(
        sum((b - a) * padded[b - 1] for a, b in itertools.pairwise([0, *chosen, len(lengths)]))
        for chosen in itertools.combinations(cuts.tolist(), 2)
    )
    chunks = split_sorted(lengths, 3)
    assert [chunk.start for chunk in chunks[1:]] == [chunk.end for chunk in chunks[:-1]]
    assert chunks[0].start == 0 and chunks[-1].end == len(lengths) and len(chunks) <= 3
    assert sum((chunk.end - chunk.start) * chunk.width for chunk in chunks) == best
