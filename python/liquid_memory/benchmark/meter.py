"""Time and memory of a call."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

#: Milliseconds that the calls of a round fill.
ROUND_MS = 10.0
#: Milliseconds that a figure may take, beside one round.
LIMIT_MS = 5_000.0
#: Seconds that a GPU rests before it is measured.
REST = 1.0

Call = Callable[[], object]


class Meter:
    """Measures calls on one device."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds

    def milliseconds(self, call: Call) -> float:
        """Median time of a call, of several behind each other."""
        self._round(call, 1)
        single = self._round(call, 1)
        calls = _filling(single)
        if calls > 1:
            calls = _filling(self._round(call, calls))
        if self.device.type == "cuda":
            time.sleep(REST)
        rounds = max(1, min(self.rounds, int(LIMIT_MS / max(single, 1e-6))))
        return median(self._round(call, calls) for _ in range(rounds))

    def peak_bytes(self, call: Call) -> int:
        """Most memory that a call holds beyond what there was before it."""
        gc.collect()
        before = self._held()
        result = call()
        self._wait()
        peak = self._peak()
        del result
        return max(0, peak - before)

    def _round(self, call: Call, calls: int) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self._wait()
        return (time.perf_counter() - start) / calls * 1e3

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _held(self) -> int:
        """Bytes in use, from which the peak begins anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident("VmHWM")


def _filling(milliseconds: float) -> int:
    """How many calls of so many milliseconds fill a round."""
    return int(max(1, min(256, ROUND_MS / max(milliseconds, 1e-6))))


def _resident(field: str) -> int:
    """Bytes that this process has in memory (Linux)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0
