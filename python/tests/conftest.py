"""What all tests share."""

from __future__ import annotations

import os

import pytest
import torch


def pytest_configure():
    # What an earlier build's operations returned must not be taken for what this one's do.
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"


@pytest.fixture(autouse=True)
def _alike_every_time():
    torch.manual_seed(0)
    torch.set_num_threads(2)
