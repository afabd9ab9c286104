"""What a training would be and cost, found out on a few steps that leave nothing behind."""

import dataclasses
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from torch import nn

from visarch.data import Data
from visarch.describe.description import quantity
from visarch.describe.networks import describe
from visarch.terminal import tell
from visarch.training.config import TrainConfig, seconds_of, to_yaml
from visarch.training.devices import check_devices, make_accelerator, processes
from visarch.training.length import planned_steps
from visarch.training.progress import clock, is_main_process, peak_memory
from visarch.training.task import Task
from visarch.training.trainer import Trainer

_IGNORED, _MOST_MEASURED, _SECONDS = 2, 20, 10.0
"""Steps that warm up, steps that are measured at most, and when to stop measuring."""


def dry_run(task: Task, model: nn.Module, data: Data, config: TrainConfig) -> int:
    """Print settings, parameters, MACs, memory, checkpoints and the time that training would take.

    A few steps are done to measure them: nothing of them is kept, and no run folder is made.

    Returns:
        The exit code, 0.
    """
    state = processes(config)
    check_devices(config, state)
    config = dataclasses.replace(config, dry_run=False)  # as it would be used
    description = describe(model, data.shape[1:])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        untracked = dataclasses.replace(config, track="none")  # which may not even be installed
        accelerator = make_accelerator(
            untracked,
            state,
            folder,
            low_precision=task.low_precision,
            num_samples=len(data.splits["train"]),
        )
        stack.callback(accelerator.end_training)
        trainer = Trainer(task, model, data.splits["train"], config, accelerator)
        stack.callback(trainer.release)
        trainer.total_steps = planned_steps(config, len(trainer.split))
        seconds = _seconds_per_step(trainer)
        memory = peak_memory(trainer.device)
        checkpoint = sum(tensor.nbytes for tensor in trainer.tensors().values())
        averages = trainer.averaged_model.state_dict().values()
        model_size = sum(tensor.nbytes for tensor in averages)
        steps, device = trainer.total_steps, trainer.device
    if not is_main_process():
        return 0

    rate, expected = config.batch_size / seconds, steps
    where = Path(config.out or "runs")
    place = next(path for path in (where, *where.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if steps is None:
        assert config.time is not None
        expected = round(seconds_of(config.time) / seconds)
        length = f"about {expected:,} steps in {config.time}"
    else:
        length = f"{steps:,} steps in about {clock(steps * seconds)}"
    needed = 2 * checkpoint + model_size
    lines = {
        "Settings": "\n" + _indented(to_yaml(config, task=task.name)),
        "Parameters": f"{description.parameters:,}",
        "MACs": f"{quantity(description.macs)} for one image, forward",
        "Memory": f"{_gigabytes(memory)} at the most so far, on {device}",
        "Checkpoints": f"{_gigabytes(checkpoint)} each (last, best), the model "
        f"{_gigabytes(model_size)}: {_gigabytes(needed)} in all, of {_gigabytes(free)} free in "
        f"{place}",
        "Speed": f"{1 / seconds:.3g} steps/s, {rate:.4g} images/s in {trainer.precision.value}",
        "Length": f"{length}, plus evaluation, pictures and exact statistics",
    }
    parts = [f"{name}: {text}" for name, text in lines.items()]
    if needed > free:
        parts.append(
            f"There is not enough room: choose an --out on another disk than {place}, or free "
            f"{_gigabytes(needed - free)}."
        )
    record = {
        "task": task.name,
        "settings": dataclasses.asdict(config),
        "parameters": description.parameters,
        "macs": description.macs,
        "device": str(device),
        "precision": trainer.precision.value,
        "memory_bytes": memory,
        "checkpoint_bytes": checkpoint,
        "model_bytes": model_size,
        "free_bytes": free,
        "steps": expected,
        "seconds_per_step": seconds,
    }
    tell(record, [*parts, "Nothing was trained and nothing was written."])
    return 0


def _seconds_per_step(trainer: Trainer) -> float:
    """The median over a few steps, after some that warm up."""
    measured: list[float] = []
    begun = time.monotonic()
    for number in range(_IGNORED + _MOST_MEASURED):
        start = time.monotonic()
        trainer.step()
        if number >= _IGNORED:
            measured.append(time.monotonic() - start)
        if measured and time.monotonic() - begun > _SECONDS:
            break
    return median(measured)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip("\n")


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"
