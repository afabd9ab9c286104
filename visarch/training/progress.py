"""What a run tells while it goes: a live line on a terminal, plain lines elsewhere."""

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from visarch.terminal import console, is_quiet, progress

SECONDS_BETWEEN_LINES = 15.0


def is_main_process() -> bool:
    """Whether this process is the one that speaks, of those that train together."""
    return os.environ.get("RANK", "0") == "0"


def reading() -> AbstractContextManager[Callable[[int, int], None]]:
    """Show on a terminal how many images have been read: what `open_data` calls with them."""
    return progress("reading images", silent=not is_main_process())


class Reporter:
    """Prints messages and progress; the live line is there between `start` and `stop`."""

    def __init__(self, *, quiet: bool = False, device: torch.device | None = None) -> None:
        self._console = console(quiet=quiet or is_quiet(), soft_wrap=True)
        self._device = device or torch.device("cpu")
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last_line = -float("inf")
        self._speed = Speed()

    def say(self, message: str) -> None:
        """Print a message above the live line."""
        self._console.print(message, markup=False)

    def start(self) -> None:
        """Begin to show progress."""
        self._speed = Speed()
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                BarColumn(bar_width=24), TextColumn("{task.description}"), console=self._console
            )
            self._task = self._bar.add_task("starting")
            self._bar.start()

    def stop(self) -> None:
        """Take the live line away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def pause(self) -> None:
        """Something other than a step follows, which does not count in the speed."""
        self._speed = Speed(self._speed.rate)

    def step(self, step: int, total: int | None, images: int, loss: float) -> None:
        """Report that step number `step` is done, which took in `images` images."""
        now = time.monotonic()
        self._speed.add(now, images)
        due = self._bar or now - self._last_line >= SECONDS_BETWEEN_LINES
        if self._console.quiet or not (due or step == total):
            return
        self._last_line = now
        text = self._text(step, total, images, loss)
        if self._bar:
            self._bar.update(self._task, completed=step, total=total, description=text)
        else:
            self.say(text)

    @property
    def images_per_second(self) -> float:
        return self._speed.rate

    def _text(self, step: int, total: int | None, images: int, loss: float) -> str:
        rate = self._speed.rate
        parts = [f"step {step}/{total or '?'}", f"loss {loss:.4g}"]
        if rate:
            parts.append(f"{rate:.4g} images/s")
        if total and rate:
            parts.append(f"{clock((total - step) * images / rate)} left")
        parts.append(f"{peak_memory(self._device) / 2**30:.1f} GiB")
        return "  ".join(parts)


class Speed:
    """Images per second, an average over about the last 20 steps."""

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._previous: float | None = None

    def add(self, now: float, images: int) -> None:
        if self._previous is not None and now > self._previous:
            seconds = now - self._previous
            average = 0.95 / self.rate + 0.05 * seconds / images if self.rate else seconds / images
            self.rate = 1 / average
        self._previous = now


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors took on a GPU so far, or that this process took on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def clock(seconds: float) -> str:
    """A length of time as 1:05 or 2:03:04."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
