"""Two processes on a processor: DDP and FSDP2 give the gradients of one."""

from __future__ import annotations

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import error
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from liquid_memory import LiquidMemory

PROCESSES, EMBED, HEADS = 2, 32, 4


def _block() -> LiquidMemory:
    torch.manual_seed(1)
    return LiquidMemory(EMBED, HEADS, batch_first=True)


def _loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x, x, x, is_causal=True)[0].square().mean()


def _inputs() -> torch.Tensor:
    return torch.randn(PROCESSES, 70, EMBED, generator=torch.Generator().manual_seed(2))


def _ddp(block: LiquidMemory, x: torch.Tensor) -> dict[str, torch.Tensor]:
    wrapped = DistributedDataParallel(block)
    _loss(wrapped, x).backward()
    return {name: parameter.grad for name, parameter in block.named_parameters()}


def _fsdp(block: LiquidMemory, x: torch.Tensor) -> dict[str, torch.Tensor]:
    fully_shard(block, mesh=init_device_mesh("cpu", (PROCESSES,)))
    _loss(block, x).backward()
    assert all(parameter.to_local().numel() < parameter.numel() for parameter in block.parameters())
    return {name: parameter.grad.full_tensor() for name, parameter in block.named_parameters()}


WAYS = {"ddp": _ddp, "fsdp2": _fsdp}


def _process(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=PROCESSES)
    try:
        x = _inputs()
        alone = _block()
        _loss(alone, x).backward()
        for way, gradients in WAYS.items():
            given = gradients(_block(), x[rank : rank + 1])
            for name, parameter in alone.named_parameters():
                assert error(given[name], parameter.grad) < 1e-4, (way, rank, name)
    finally:
        dist.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # PyTorch is imported once for both: by the server, of which they are forks.
    mp.get_context("forkserver").set_forkserver_preload(["liquid_memory", "torch.distributed.fsdp"])
    mp.start_processes(_process, (port,), PROCESSES, start_method="forkserver")
