"""Where and in which number format to compute: what the settings say, as Accelerate wants it."""

import importlib.util
import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
)

from visarch.device import as_launched, find_device
from visarch.errors import UserError
from visarch.performance import choices
from visarch.performance.choices import Choice
from visarch.training.config import TrainConfig, seconds_of
from visarch.training.length import planned_steps
from visarch.training.sharding import is_sharded_launch

_COMPILER = "inductor"
_FORMATS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def processes(config: TrainConfig) -> PartialState:
    """This process's place among those that train together, and its device.

    Raises:
        UserError: there is no such device here, or the environment is no launcher's.
    """
    device = find_device(config.device)
    # Accelerate keeps one state per Python process; an earlier run may have had another device.
    AcceleratorState._reset_state(reset_partial_state=True)
    with as_launched():
        if device.type == "cpu":  # unless it is told, Accelerate looks for no other processes
            return PartialState(cpu=True)
        if config.device == "auto":
            return PartialState()
        return _state_on(device)


def _state_on(device: torch.device) -> PartialState:
    previous = os.environ.get("ACCELERATE_TORCH_DEVICE")
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    try:
        return PartialState()
    finally:
        del os.environ["ACCELERATE_TORCH_DEVICE"]
        if previous is not None:
            os.environ["ACCELERATE_TORCH_DEVICE"] = previous


def check_devices(config: TrainConfig, state: PartialState) -> None:
    """Find out what cannot work before anything is written.

    Raises:
        UserError: the precision or the tracker is not to be had here, the batch cannot be shared
            by the processes, or they were launched for a kind of training that is not supported.
    """
    if config.precision == "fp16" and state.device.type not in ("cuda", "mps", "xpu"):
        raise UserError(
            f"--precision fp16 works on a GPU, and this trains on {state.device}; take bf16 or "
            "fp32."
        )
    if state.distributed_type not in _SUPPORTED:
        raise UserError(
            f"This was launched for {state.distributed_type.value} training; visarch trains on one "
            "process, with DistributedDataParallel (`torchrun`, or `accelerate launch "
            "--multi_gpu`) or with FSDP (`accelerate launch --use_fsdp --fsdp_version 2`)."
        )
    if is_sharded_launch() and os.environ.get("FSDP_VERSION") != "2":
        raise UserError(
            "This was launched for FSDP of version 1; visarch trains with version 2: add "
            "--fsdp_version 2."
        )
    if config.batch_size % state.num_processes:
        raise UserError(
            f"--batch-size {config.batch_size} cannot be shared equally by {state.num_processes} "
            "processes; it must be a multiple of their number."
        )
    if config.track != "none" and importlib.util.find_spec(config.track) is None:
        raise UserError(f"--track {config.track} needs a package: pip install {config.track}")


def make_accelerator(
    config: TrainConfig,
    state: PartialState,
    folder: Path,
    *,
    low_precision: bool,
    num_samples: int,
) -> Accelerator:
    """Accelerate's handle on device, precision, compilation, processes and trackers.

    Args:
        config: the settings.
        state: this process's place among the others.
        folder: where a tracker may write.
        low_precision: what the task says of it.
        num_samples: how many images there are to learn from.
    """
    sharding = _sharding() if is_sharded_launch() and state.num_processes > 1 else None
    with as_launched():
        accelerator = Accelerator(
            cpu=state.device.type == "cpu",
            mixed_precision=_FORMATS[precision(config, state.device, low_precision).value],
            dynamo_backend=_COMPILER if compiled(config, state.device, num_samples).value else "no",
            log_with=None if config.track == "none" else config.track,
            project_dir=folder,
            fsdp_plugin=sharding,
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
    if sharding and state.device.type == "cpu":
        # torch can shard on CPUs as well, which Accelerate does not think of
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = sharding
    return accelerator


def _sharding() -> FullyShardedDataParallelPlugin:
    """FSDP as it was launched, but for what would not do what one process does."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return FullyShardedDataParallelPlugin(
        # weights stay in fp32 and autocast does the rest, as elsewhere
        mixed_precision_policy=MixedPrecisionPolicy(),
        # every process makes the model; Accelerate's way of sending it cannot send buffers
        cpu_ram_efficient_loading=False,
    )


_SUPPORTED = (
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_XPU,
    DistributedType.FSDP,
)


def precision(config: TrainConfig, device: torch.device, low_precision: bool) -> Choice[str]:
    """fp32, bf16 or fp16, and why: what was asked for, else what is best on this device."""
    if config.precision != "auto":
        return Choice(config.precision, "asked for")
    return choices.precision(device, low_precision=low_precision)


def compiled(config: TrainConfig, device: torch.device, num_samples: int) -> Choice[bool]:
    """Whether to compile, and why: what was asked for, else what pays on this device."""
    if config.compile is not None:
        return Choice(config.compile, "asked for")
    if is_sharded_launch():
        return Choice(False, "it was not tried with FSDP")
    seconds = seconds_of(config.time) if config.time else None
    steps = planned_steps(config, num_samples) if config.steps or config.epochs else None
    return choices.compilation(device, steps=steps, seconds=seconds)
