"""From settings to a finished run folder with its report: what the training commands share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from visarch.data import Data, open_data
from visarch.terminal import tell
from visarch.training.agreement import open_together
from visarch.training.config import TrainConfig, with_preset
from visarch.training.devices import check_devices, processes
from visarch.training.failures import explained
from visarch.training.initialization import start_from
from visarch.training.loop import train
from visarch.training.progress import is_main_process, reading
from visarch.training.resume import has_begun
from visarch.training.runfolder import check_outside
from visarch.training.session import Result
from visarch.training.task import Task

Config = TypeVar("Config", bound=TrainConfig)


@dataclass(frozen=True)
class Job(Generic[Config]):
    """What is about to be trained."""

    config: Config
    """The settings, with nothing left to infer."""
    task: Task
    model: nn.Module
    """At the random weights that the seed gives."""
    start: Callable[[], None] | None = None
    """Gives the model of a new run better weights to start from; takes its time."""
    anew: tuple[str, ...] = ()
    """Tensors that start at random even where --init has some that fit: they mean another thing."""
    afterwards: Callable[[Result], list[str]] = lambda result: []
    """What to say of the finished run."""
    next_verbs: tuple[str, ...] = ("evaluate",)
    """What one would do with the finished run."""


def launch(config: Config, prepare: Callable[[Config, Data], Job[Config]]) -> int:
    """Open the data, let the task prepare its job, train, and leave a run folder with its report.

    `prepare` makes task and model from settings and data, infers what was left open, and adds the
    reasons to `data.reasons`, which are printed and go into data.json and the report.

    Returns:
        The exit code: 0, or that of the signal that stopped the training.

    Raises:
        UserError: data, settings or run folder do not fit.
        NonFiniteError: too many steps in a row were not finite.
        TrainingStopped: there was no memory left, or a process that trains along has ended.
    """
    with explained(None if config.out is None else Path(config.out)):
        return _launch(config, prepare)


def _launch(config: Config, prepare: Callable[[Config, Data], Job[Config]]) -> int:
    state = processes(config)
    check_devices(config, state)  # before the data is read, which may take long
    check_outside(config)
    config, reasons = with_preset(config)
    size = config.image_size
    with reading() as progress:
        data = open_together(
            state,
            partial(
                open_data,
                config.data,
                image_size=size[0] if size and len(size) == 1 else size,
                channels=config.image_channels,
                progress=progress,
            ),
        )
    data.reasons.extend(reasons)
    job = prepare(config, data)
    begun = has_begun(config)
    if config.init is not None and not begun:
        data.reasons.append(
            ("first weights", config.init, start_from(job.model, config.init, job.anew))
        )
    if is_main_process():
        _tell(data)
    if config.dry_run:
        from visarch.training.dry_run import dry_run

        return dry_run(job.task, job.model, data, job.config)

    if job.start and not begun and config.init is None:
        job.start()
    result = train(job.task, job.model, data, job.config)
    if not is_main_process():
        return result.exit_code
    from visarch.report import write_report

    report = write_report(result.path)
    if not result.exit_code:
        from visarch.cards import write_card

        write_card(result.path)
    finished = not result.exit_code
    remarks = job.afterwards(result) if result.metrics else []
    next_verbs = ", ".join(f"visarch {verb} {result.path}" for verb in job.next_verbs)
    record = {
        "run": str(result.path),
        "step": result.step,
        "total_steps": result.total_steps,
        "finished": finished,
        "metrics": result.metrics,
        "remarks": remarks,
        "report": str(report),
    }
    tell(record, [*remarks, f"Report: {report}", f"Next: {next_verbs}"] if finished else [])
    return result.exit_code


def with_length(config: Config, data: Data, steps: int) -> Config:
    """The config, of so many steps where it says nothing of its length; adds the reason."""
    if (config.steps, config.epochs, config.time) != (None, None, None):
        return config
    why = "unless --steps, --epochs or --time says otherwise"
    data.reasons.append(("steps", str(steps), why))
    return replace(config, steps=steps)


def _tell(data: Data) -> None:
    """Say what was inferred and what was left out."""
    for name, value, why in data.reasons:
        print(f"{name}: {value} ({why})")
    for name, why in data.skipped[:5]:
        print(f"skipped {name}: {why}")
    if len(data.skipped) > 5:
        print(f"… and {len(data.skipped) - 5} more, all listed in the run's data.json")
