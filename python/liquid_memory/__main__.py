"""`python -m liquid_memory benchmark`: the package's commands."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any

import torch

from . import SignatureError, _native, kernels
from ._native import REQUIRE_SIGNATURE
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
    check = commands.add_parser("verify", help="check that a key has signed the files and kernels of this package")
    check.add_argument("--key", help=f"file of the public key, PEM [default: the key in ${REQUIRE_SIGNATURE}]")
    distil = commands.add_parser("distill", help="replace a transformers model's attention and train it again")
    if "distill" in sys.argv[1:2]:
        # Needs transformers, which the others do not.
        from .hf.command import add_arguments

        add_arguments(distil)
    given = vars(parser.parse_args())
    command = given.pop("command")
    if command == "verify":
        verify(given["key"])
        return
    if command == "distill":
        distill(given)
        return
    given["dtype"] = getattr(torch, given["dtype"])
    (training if command == "training" else benchmark)(**given)


def distill(given: dict[str, Any]) -> None:
    """Distils a model."""
    from .hf import Recipe
    from .hf.command import Run, run

    recipe = Recipe(**{field.name: given.pop(field.name) for field in dataclasses.fields(Recipe)})
    run(Run(**given, recipe=recipe))


def verify(key_file: str | None) -> None:
    """Prints what was verified; exits with 1, and the reason, if something is not what the key has signed."""
    try:
        if key_file is not None:
            with open(key_file) as opened:
                key = opened.read()
        elif REQUIRE_SIGNATURE in os.environ:
            key = os.environ[REQUIRE_SIGNATURE]
        else:
            sys.exit(f"no key: pass --key FILE, or set {REQUIRE_SIGNATURE}")
        files, fingerprint = _native.verify(kernels.PACKAGE, key)
    except (OSError, SignatureError) as error:
        sys.exit(str(error))
    print(f"{kernels.PACKAGE}: {files} files, signed by the key {fingerprint}")


if __name__ == "__main__":
    main()
