"""What all tests share."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch

_CACHE = tempfile.TemporaryDirectory(prefix="inductor-")


def pytest_configure():
    # What an earlier build's operations returned must not be taken for what this one's do.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = _CACHE.name


def pytest_unconfigure():
    _CACHE.cleanup()


@pytest.fixture(autouse=True)
def _alike_every_time():
    torch.manual_seed(0)
    # Threads that wait for each other at every small operation are slow beside other programs.
    torch.set_num_threads(1)
