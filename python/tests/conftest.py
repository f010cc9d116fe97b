"""What all tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _alike_every_time():
    torch.manual_seed(0)
    torch.set_num_threads(2)
