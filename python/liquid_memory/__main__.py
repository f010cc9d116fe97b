"""`python -m liquid_memory benchmark`: the package's commands."""

from __future__ import annotations

import argparse

import torch

from .benchmark import benchmark
from .benchmark.training import training


def main() -> None:
    """Runs a command."""
    parser = argparse.ArgumentParser(prog="python -m liquid_memory", description="Attention in linear time.")
    commands = parser.add_subparsers(dest="command", required=True)
    on_gpu = torch.cuda.is_available()
    measure = commands.add_parser("benchmark", help="measure a layer, and steps, beside their peers")
    measure.add_argument("--json", help="write the figures to this file")
    measure.add_argument("--png", help="draw them into this file")
    train = commands.add_parser("training", help="measure training steps on a GPU")
    for command, lengths in ((measure, [2048, 8192, 32768, 131072]), (train, [8192, 32768])):
        command.add_argument("--embed-dim", type=int, default=4096 if on_gpu else 512)
        command.add_argument("--num-heads", type=int, default=32 if on_gpu else 8)
        command.add_argument("--batch-size", type=int, default=1)
        command.add_argument("--seq-lengths", type=int, nargs="+", default=lengths if on_gpu else [512, 2048, 4096])
        command.add_argument("--dtype", default="bfloat16" if on_gpu else "float32")
        command.add_argument("--device", default="cuda" if on_gpu else "cpu")
    given = vars(parser.parse_args())
    given["dtype"] = getattr(torch, given["dtype"])
    if given.pop("command") == "training":
        training(**given)
    else:
        benchmark(**given)


if __name__ == "__main__":
    main()
