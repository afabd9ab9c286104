"""Where and in which number format to compute: what the settings say, as Accelerate wants it."""

import importlib.util
import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from visarch.device import find_device
from visarch.errors import UserError
from visarch.training.config import TrainConfig

_PROJECTS = {"tensorboard": "tensorboard", "wandb": "visarch"}
_FORMATS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def processes(config: TrainConfig) -> PartialState:
    """This process's place among those that train together, and its device.

    Raises:
        UserError: there is no such device here.
    """
    device = None if config.device == "auto" else find_device(config.device)
    # Accelerate keeps one state per Python process; an earlier run may have had another device.
    AcceleratorState._reset_state(reset_partial_state=True)
    if device is None or device.type == "cpu":
        return PartialState(cpu=device is not None)
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
            by the processes, or they were launched for sharded training.
    """
    precision(config, state.device)
    if state.distributed_type not in _SUPPORTED:
        raise UserError(
            f"This was launched for {state.distributed_type.value} training; visarch trains on one "
            "process or with DistributedDataParallel (`torchrun`, or `accelerate launch "
            "--multi_gpu`)."
        )
    if config.batch_size % state.num_processes:
        raise UserError(
            f"--batch-size {config.batch_size} cannot be shared equally by {state.num_processes} "
            "processes; it must be a multiple of their number."
        )
    if config.track != "none" and importlib.util.find_spec(config.track) is None:
        raise UserError(f"--track {config.track} needs a package: pip install {config.track}")


def make_accelerator(config: TrainConfig, state: PartialState, folder: Path) -> Accelerator:
    """Accelerate's handle on device, precision, compilation, processes and trackers."""
    accelerator = Accelerator(
        cpu=state.device.type == "cpu",
        mixed_precision=_FORMATS[precision(config, state.device)],
        dynamo_backend="inductor" if config.compile else "no",
        log_with=None if config.track == "none" else config.track,
        project_dir=folder,
    )
    if config.track != "none":
        accelerator.init_trackers(_PROJECTS[config.track], None, {"wandb": {"name": folder.name}})
    return accelerator


_SUPPORTED = (
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_XPU,
)


def precision(config: TrainConfig, device: torch.device) -> str:
    """fp32, bf16 or fp16: what auto means on this device, else what was asked.

    Raises:
        UserError: fp16 off the GPU, where autocast has no loss scaling.
    """
    if config.precision == "fp16" and device.type not in ("cuda", "mps", "xpu"):
        raise UserError(
            f"--precision fp16 works on a GPU, and this trains on {device}; take bf16 or fp32."
        )
    if config.precision != "auto":
        return config.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
