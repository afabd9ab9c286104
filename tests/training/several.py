"""Functions that run in several processes at once, as `torchrun` would start them."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed

SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def together(
    start: Callable[..., Any],
    work: Callable[..., object],
    *arguments: Any,
    environment: Mapping[str, str] | None = None,
    size: int = 2,
) -> None:
    """Let `work(*arguments)` be done by several processes, to its end."""
    processes = [
        start(_one_of_them, rank, size, dict(environment or {}), work, arguments)
        for rank in range(size)
    ]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * size


def _one_of_them(
    rank: int, size: int, environment: dict[str, str], work: Callable[..., object], arguments: tuple
) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {key: str(value) for key, value in place.items()} | environment
    work(*arguments)


def meet(file: Path) -> None:
    """Make up a group, which a training ends; a file to meet at needs no free port."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = distributed.FileStore(str(file), size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    distributed.barrier()  # or who is quick may have left before the others have come
