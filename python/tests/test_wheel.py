"""The package as its wheel brings it: installed in an environment of its own, imported from nowhere else, signed.

`cargo xtask test --only torch` builds, signs and installs the wheel. In an environment with one that KEY.pub has signed, from
another folder than `python`:

    LIQUID_MEMORY_WHEEL_KEY="$(cat KEY.pub)" python -m pytest -c python/pyproject.toml python/tests/test_wheel.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from block import EMBED, Block
from oracle import error

import liquid_memory
from liquid_memory import _native
from liquid_memory.__main__ import main

if "LIQUID_MEMORY_WHEEL_KEY" not in os.environ:
    pytest.skip("no signed wheel: LIQUID_MEMORY_WHEEL_KEY is not set to its public key", allow_module_level=True)

PACKAGE = Path(liquid_memory.__file__).parent


def test_it_is_the_wheel_that_is_imported():
    assert Path(sys.prefix) in PACKAGE.parents
    assert Path(_native.__file__).parent == PACKAGE
    wheel = next(PACKAGE.parent.glob("liquid_memory-*.dist-info/WHEEL")).read_text()
    assert re.search(r"^Tag: cp310-abi3-\w*linux\w*$", wheel, re.MULTILINE), wheel


def test_a_block_with_the_line_swapped_trains_compiled_without_a_graph_break():
    block = Block()
    compiled = torch.compile(block, fullgraph=True)
    x = torch.randn(4, 70, EMBED)
    by = torch.randn_like(x)
    leaves = list(block.parameters())
    given, wanted = (torch.autograd.grad(call(x), leaves, by) for call in (compiled, block))
    for one, other in zip(given, wanted, strict=True):
        assert error(one, other) < 1e-4
    optimiser = torch.optim.AdamW(leaves, 1e-2)
    # What was said two tokens before.
    earlier = x.roll(2, 1)
    losses = []
    for _ in range(30):
        loss = (compiled(x) - earlier)[:, 2:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2, (losses[0], losses[-1])


def test_the_key_that_signed_it_verifies_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["liquid_memory", "verify"])
    monkeypatch.setenv("LIQUID_MEMORY_REQUIRE_SIGNATURE", os.environ["LIQUID_MEMORY_WHEEL_KEY"])
    listed = {line.split("  ")[1] for line in (PACKAGE / "SHA256SUMS").read_text().splitlines()}
    assert {"__init__.py", "_native.abi3.so", "kernel_sources/scan.cu", "kernel_sources/transformer/gemm.cu"} <= listed
    assert {name for name, _ in _native.kernel_files()} <= listed
    main()
    assert f"{len(listed)} files, signed by the key" in capsys.readouterr().out
    added = PACKAGE / "added.py"
    added.touch()
    try:
        with pytest.raises(SystemExit, match=r"added.py: not in SHA256SUMS"):
            main()
    finally:
        added.unlink()


@pytest.mark.gpu
@pytest.mark.parametrize(("key", "runs"), [("", False), (None, True)])
def test_on_a_gpu_only_signed_kernels_run(key, runs):
    program = """
import torch
from liquid_memory import LiquidMemory
torch.set_default_device("cuda")
layer, x = LiquidMemory(256, 2, dtype=torch.bfloat16), torch.randn(9, 1, 256, dtype=torch.bfloat16)
with torch.no_grad():
    print(layer(x, x, x, is_causal=True)[0].isfinite().all().item())
"""
    required = os.environ["LIQUID_MEMORY_WHEEL_KEY"] if key is None else key
    variables = os.environ | {"LIQUID_MEMORY_REQUIRE_SIGNATURE": required}
    said = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=100)
    if runs:
        assert said.stdout == "True\n" and "PyTorch's own operations" not in said.stderr, said.stderr
    else:
        assert said.returncode == 1 and "SignatureError" in said.stderr, said.stderr
