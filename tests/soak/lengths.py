"""A long run: whether memory, speed, logs and checkpoints stay as they are."""

import os
import resource
import statistics
from pathlib import Path
from typing import NamedTuple

from . import runs
from .commands import Start, train

EVERY = {"log_every": 10, "checkpoint_every": 500, "evaluate_every": 500, "sample_every": 2000}
WARM = 0.1
"""The share of a run that is warm-up."""


class Sample(NamedTuple):
    """A look at a process."""

    step: int
    memory: int
    """Bytes that it has in memory."""
    seconds: float
    """Processor time it has taken."""


def long_run(start: Start, folder: Path, data: Path, task: str, steps: int) -> dict[str, float]:
    """Train for so many steps; what memory, time per step and the run folder were like."""
    run = folder / f"{task}-long"
    log = folder / f"{task}-long.log"
    command = start(log, train(task, data, run, steps=steps, **EVERY))
    assert command.pid is not None
    samples: list[Sample] = []
    while command.wait(0.2) is None:
        step = _last_step(run / "metrics.csv")
        if step and (not samples or step > samples[-1].step):
            samples.append(_look(command.pid, step))
    assert command.wait() == 0, command.said
    files = runs.check_whole(run)
    warm = [sample for sample in samples if sample.step >= WARM * steps]
    early, late = warm[: len(warm) // 4 or 1], warm[-(len(warm) // 4 or 1) :]
    return {
        "steps": steps,
        "looks": len(samples),
        "memory_mb": _median(early) / 2**20,
        "memory_grows_percent": 100 * (_median(late) / _median(early) - 1),
        "ms_per_step": 1000 * _pace(warm[: len(warm) // 2]),
        "ms_per_step_grows_percent": 100
        * (_pace(warm[len(warm) // 2 :]) / _pace(warm[: len(warm) // 2]) - 1),
        "log_bytes_per_row": (run / "metrics.csv").stat().st_size / len(runs.metrics(run)),
        "said_lines": len(command.said.splitlines()),
        "checkpoints": len(list((run / "checkpoints").iterdir())),
        "files": files,
        "megabytes": sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 2**20,
    }


def _look(pid: int, step: int) -> Sample:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # utime and stime
    pages = int(fields[21])
    return Sample(step, pages * resource.getpagesize(), ticks / os.sysconf("SC_CLK_TCK"))


def _last_step(path: Path) -> int:
    """The last step of metrics.csv, by a look at its end."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        lines = file.read().decode("utf-8").rpartition("\n")[0].splitlines()
    number = lines[-1].partition(",")[0] if lines else ""
    return int(number) if number.isdigit() else 0


def _median(samples: list[Sample]) -> float:
    return statistics.median(sample.memory for sample in samples)


def _pace(samples: list[Sample]) -> float:
    """Processor seconds per step: what else the machine does hardly enters."""
    first, last = samples[0], samples[-1]
    return (last.seconds - first.seconds) / max(1, last.step - first.step)
