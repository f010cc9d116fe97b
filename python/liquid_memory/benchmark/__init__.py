"""Measures a layer beside its peers: `LiquidMemory.benchmark` and `python -m liquid_memory benchmark`.

Every figure is the median of several rounds; a round is as many calls behind each other as fill 10 ms, projections
included, without gradients, and a GPU rests for a second before. Memory is the peak of a call beyond weights and input,
its output included.
"""

from .report import Figure, Report
from .run import benchmark

__all__ = ["Figure", "Report", "benchmark"]
