"""Commands of visarch in processes of their own that things happen to: kills, full disks, signals.

They are forked from one process that has imported everything slow, so that a command on tiny images
takes a fraction of a second; what is run is `visarch.cli.main`, as a terminal would.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np

STEPS, CHECKPOINT_EVERY = 12, 3
_COMMON = {
    "batch-size": 8,
    "log-every": 1,
    "sample-every": 5,
    "evaluate-every": 4,
    "warmup-steps": 5,
    "precision": "fp32",
    "device": "cpu",
}
_TASKS = {
    "vae": "--latent-dim 2 --channels 4 --depth 1 --initialization random",
    "classifier": "--block residual --depths 1 1 --widths 4 6",
    "diffusion": "--widths 8 16 --num-groups 4 --context-dim 16 --num-blocks 1 --sampling-steps 2",
}
TASKS = tuple(_TASKS)


def images(path: Path, count: int = 80) -> Path:
    """Images of 8×8 pixels with labels, in a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(path, images=pixels, labels=np.arange(count) % 3)
    return path


def train(task: str, data: Path, out: Path, **flags: object) -> list[str]:
    """The arguments of a training that takes a moment."""
    lengths = {"steps": STEPS, "checkpoint-every": CHECKPOINT_EVERY}
    given = lengths | _COMMON | {name.replace("_", "-"): value for name, value in flags.items()}
    spelled = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    places = ["--data", str(data), "--out", str(out)]
    return ["train", task, *places, *spelled, *_TASKS[task].split()]


@dataclass(frozen=True)
class Fate:
    """What happens to a command."""

    at: int = 0
    """When it is about to do this to its run folder for the so manieth time: open, rename, remove,
    … ; 0 for never."""
    within: int | None = None
    """It is not killed then, but once it writes a file beyond so many bytes."""
    fatal: bool = True
    """Whether such a write kills it, or is refused."""
    memory: int | None = None
    """It is not killed then, but may have no more than so many bytes on top of what it has."""
    environment: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    """The network namespace that it lives in."""


class Command:
    """A command of visarch that is running."""

    def __init__(self, process: ForkServerProcess, log: Path) -> None:
        self._process, self._log = process, log

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code, or minus the signal that ended it; None if it still runs after so long."""
        self._process.join(seconds)
        return self._process.exitcode

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._process.exitcode is None:
            assert self.pid is not None
            os.kill(self.pid, number)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text("utf-8", "replace")


class RealCommand(Command):
    """A command that a shell would have started."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self._popen, self._log = process, log

    @property
    def pid(self) -> int | None:
        return self._popen.pid

    def wait(self, seconds: float | None = None) -> int | None:
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        self._popen.send_signal(number)


Start = Callable[..., Command]


def start_really(log: Path, arguments: Sequence[str], *_: object) -> Command:
    """Start `visarch` as a shell would, to which nothing happens by itself."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "visarch", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    return RealCommand(process, log)


@contextmanager
def forkserver() -> Iterator[Start]:
    """What starts commands: `start(log, arguments, fate, watched)`; all are killed at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["soak.everything"])
    started: list[ForkServerProcess] = []
    tests = str(Path(__file__).parents[1])  # where the children find this package
    sys.path.insert(0, tests)

    def start(
        log: Path, arguments: Sequence[str], fate: Fate = Fate(), watched: Path | None = None
    ) -> Command:
        log.write_bytes(b"")
        process = context.Process(target=_run, args=(log, arguments, fate, watched), daemon=True)
        process.start()
        started.append(process)
        return Command(process, log)

    try:
        yield start
    finally:
        sys.path.remove(tests)
        for process in started:
            process.kill()
            process.join()


def _run(log: Path, arguments: Sequence[str], fate: Fate, watched: Path | None) -> None:
    """In the child: a command that something happens to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a kill, until there is a command to hear it
    descriptor = os.open(log, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    # multiprocessing's are of the forkserver, and are buffered as a terminal is
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ |= {"OMP_NUM_THREADS": "1", **fate.environment}
    if fate.network is not None:
        _enter(fate.network)
    if fate.at and watched is not None:
        _meet(fate, watched)
    from visarch.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(list(arguments)))


_DEEDS = {"open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


def _meet(fate: Fate, folder: Path) -> None:
    """Count what is done to files in a folder, and let it happen at the right moment."""
    prefix, count = str(folder), 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event not in _DEEDS or not str(arguments[0]).startswith(prefix):
            return
        count += 1
        if count != fate.at:
            return
        if fate.memory is not None:
            limit = _address_space() + fate.memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return
        if fate.within is None:
            signal.raise_signal(signal.SIGKILL)
            return
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fate.fatal else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate.within, fate.within))

    sys.addaudithook(watch)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _enter(network: str) -> None:
    """Live in a network namespace that `ip netns add` has made."""
    import ctypes

    with open(f"/run/netns/{network}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")
