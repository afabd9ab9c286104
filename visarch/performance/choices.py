"""Which number format, memory format and number of threads are fastest here, with the reasons."""

import importlib.util
import math
import os
import platform
import shutil
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from visarch.blocks.normalization import BatchNorm, Normalization

Value = TypeVar("Value")

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_MANY_STEPS, _LONG = 5_000, 600.0
"""A run of so many steps, or seconds, is long."""
_UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16"}


class Choice(NamedTuple, Generic[Value]):
    """What was chosen, and why, to be printed."""

    value: Value
    reason: str


def precision(device: torch.device, *, low_precision: bool) -> Choice[str]:
    """fp32 or bf16 for the heavy operations; never fp16, whose small range takes loss scaling.

    Args:
        device: where to compute.
        low_precision: whether the task takes bf16 on a CPU, too.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", f"{torch.cuda.get_device_name(device)} has units for it")
        return Choice("fp32", f"{torch.cuda.get_device_name(device)} has no units for bf16")
    if device.type != "cpu":
        return Choice("fp32", f"bf16 was not tried on {device.type}")
    if not low_precision:
        return Choice("fp32", "this task trains in full precision on a CPU")
    capabilities = torch.cpu.get_capabilities()
    units = [name for key, name in _UNITS.items() if capabilities.get(key)]
    if units:
        return Choice("bf16", f"this processor has units for it ({' and '.join(units)})")
    return Choice("fp32", f"this processor ({platform.machine()}) has no units for bf16")


def compilation(device: torch.device, *, steps: int | None, seconds: float | None) -> Choice[bool]:
    """Whether torch.compile pays: what it takes at first, minutes for a large network, later steps
    give back on a GPU where there are many of them.

    Args:
        device: where to compute.
        steps: how many steps are planned, if that is known.
        seconds: else how long they may take.
    """
    if device.type != "cuda":
        return Choice(False, f"it is the default on CUDA GPUs alone, not on {device.type}")
    if importlib.util.find_spec("triton") is None:
        return Choice(False, "Triton is not installed")
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return Choice(False, "Triton needs a C compiler, and there is none")
    if (steps or 0) >= _MANY_STEPS or (seconds or 0) >= _LONG:
        return Choice(True, "the run is long enough to pay for it")
    return Choice(False, f"it pays from {_MANY_STEPS:,} steps or {_LONG / 60:g} minutes on")


def threads() -> Choice[int]:
    """How many threads compute on a CPU: what the environment says, else as many as there are
    cores, or as the container of this process may keep busy.

    More threads than that wait for each other.
    """
    current = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ:
        return Choice(current, "OMP_NUM_THREADS says so")
    share = _share_of_processors()
    if share < current:
        why = f"this container may keep {share:g} of {current} cores busy"
        return Choice(max(1, math.floor(share)), why)
    return Choice(current, "one for each core")


def _share_of_processors() -> float:
    """The processors that control groups (version 2) leave to this process; infinite without."""
    try:
        quota, period = _CPU_LIMIT.read_text("utf-8").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf


def memory_format(
    model: nn.Module, device: torch.device, precision: str
) -> Choice[torch.memory_format]:
    """The order of axes in memory in which a model's images and activations pass fastest.

    Args:
        model: the network, whose convolutions and norms decide.
        device: where it computes.
        precision: fp32, bf16 or fp16.
    """
    last = _CHANNELS_LAST.get(max((p.ndim for p in model.parameters()), default=0))
    if last is None:
        return Choice(torch.contiguous_format, "no convolution has two or three axes")
    if device.type == "cuda":
        return Choice(last, "tensor cores take it without transposing")
    if device.type != "cpu":
        return Choice(torch.contiguous_format, f"channels_last was not tried on {device.type}")
    if precision == "fp32":
        # it would be up to a quarter faster, but torch sums BatchNorm's variance less exactly then
        return Choice(torch.contiguous_format, "the most exact on a CPU in fp32")
    if any(_is_group_norm(module) for module in model.modules()):
        return Choice(torch.contiguous_format, "torch's GroupNorm is slow in channels_last on CPUs")
    return Choice(last, f"convolutions are faster so on a CPU in {precision}")


def arrange_weights(model: nn.Module, chosen: torch.memory_format) -> None:
    """Lay a model's weights out in the memory format that was chosen for its activations.

    On a CPU they stay as they are: convolutions pack their weights anew in each step, whatever the
    layout, while torch's fused optimizers take about twice as long over channels_last.
    """
    weights = [*model.parameters(), *model.buffers()]
    if chosen != torch.contiguous_format and all(w.device.type != "cpu" for w in weights):
        model.to(memory_format=chosen)  # type: ignore[call-overload]


def arrange(images: Tensor, chosen: torch.memory_format) -> Tensor:
    """Images (b, C, *spatial) in a memory format that has as many axes; others as they are."""
    if _CHANNELS_LAST.get(images.ndim) == chosen:
        return images.contiguous(memory_format=chosen)
    return images


def _is_group_norm(module: nn.Module) -> bool:
    ours = isinstance(module, Normalization) and not isinstance(module, BatchNorm)
    return ours or isinstance(module, nn.GroupNorm)
