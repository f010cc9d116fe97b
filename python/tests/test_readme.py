"""The examples of the README run, and the table that it describes is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from liquid_memory import LiquidMemory
from liquid_memory.benchmark.report import LIQUID, STEP

README = Path(__file__).parent.parent / "README.md"


def test_every_example_runs():
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 3
    pytest.importorskip("transformers")
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, str(README), "exec"), names)
    assert names["outputs"].shape == (2, 1000, 64) and names["token"].shape == (2, 64)
    assert names["state"].tokens == [1001, 0] and names["branch"].tokens == [1001, 1001]
    assert names["packed"].shape == (300, 64)
    assert all(parameter.grad is not None for parameter in names["block"].parameters())
    assert names["text"].shape[0] == 1 and 8 < names["text"].shape[1] <= 12


def test_a_benchmark_prints_the_columns_and_writes_json(tmp_path):
    said: list[str] = []
    report = LiquidMemory.benchmark(
        embed_dim=32, num_heads=4, batch_size=2, seq_lengths=[16, 40], dtype=torch.float32, device="cpu",
        rounds=1, json=tmp_path / "figures.json", say=said.append,
    )  # fmt: skip
    table = said[-1]
    assert all(column in table for column in ("LM mem", "TX mem", "LM ms", "TX ms", "speedup"))
    assert all(peer in table for peer in ("nn.MultiheadAttention", "scaled_dot_product_attention", "fla gated delta rule"))
    assert report.find(LIQUID, 40).ms > 0 and report.find(STEP, 16).ms > 0
    assert report.find("fla gated delta rule", 16).skipped == "it needs a GPU"
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["setting"]["batch_size"] == 2 and len(written["figures"]) == len(report.figures)


def test_a_picture_of_a_benchmark(tmp_path):
    pytest.importorskip("matplotlib")
    from liquid_memory.benchmark import Figure, Report

    report = Report({}, [Figure(LIQUID, n, n / 1e3, n * 100) for n in (16, 64)])
    report.to_png(tmp_path / "figures.png")
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")
