"""A disk that is full, that refuses, or that knows no locks."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import runs
from .commands import Fate, Start, train

PAGE = 4096
MIDDLE = 40
"""How many things a training has done to its run folder when it is under way."""


class NoMount(Exception):
    """This process may not mount a file system of its own."""


class Disk:
    """A small file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)


@contextmanager
def disk(path: Path, size: int) -> Iterator[Disk]:
    """A file system of so many bytes, mounted in a new folder.

    Raises:
        NoMount: only root may do that.
    """
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "visarch-test", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        raise NoMount("only root may mount a file system")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


class Sufferer:
    """A run whose disk fails, beside one whose disk does not."""

    def __init__(self, start: Start, folder: Path, data: Path, task: str) -> None:
        self.start, self.folder, self.data, self.task = start, folder, data, task
        self.straight, _ = runs.straight(start, folder, data, task)

    def full(self, sizes: Iterable[int]) -> int:
        """Train on disks of so many bytes; each is told, and goes on where there is room. Returns
        how many were full."""
        count = 0
        for size in sizes:
            with disk(self.folder / "disk", size) as it:
                run = it.path / "run"
                if self._is_refused(run, Fate(), "No space left on device"):
                    count += 1
                it.set("size=64m")
                self._goes_on(run)
        return count

    def refusing(self, deeds: Iterable[int], within: int) -> int:
        """Refuse files larger than `within` bytes from the n-th thing on that is done to the run
        folder, for each n. Returns how often that was noticed."""
        count = 0
        for number in deeds:
            run = self.folder / f"{self.task}-refusing-{number}"
            fate = Fate(at=number, within=within, fatal=False)
            count += self._is_refused(run, fate, "File too large")
            self._goes_on(run)
        return count

    def read_only(self) -> str:
        """Begin a run, go on with it where nothing may be written, and where it may again. Returns
        what it was told."""
        with disk(self.folder / "disk", 64 << 20) as it:
            run = it.path / "run"
            assert self._command(run, Fate(at=MIDDLE)) == -9
            it.set("ro")
            assert self._is_refused(run, Fate(), "Read-only file system")
            told = self._said.splitlines()[-1]
            it.set("rw")
            self._goes_on(run)
        return told

    def short_of_memory(self, sizes: Iterable[int]) -> dict[str, int]:
        """From the middle of a training on, leave it so many bytes of memory on top of what it has.
        Returns how often that was enough, was told to be too little, had a library abort the
        process, and had one make another error of it, as Pillow may."""
        count: Counter[str] = Counter()
        for size in sizes:
            run = self.folder / f"{self.task}-memory-{size}"
            ended = self._command(run, Fate(at=MIDDLE, memory=size))
            if ended == -signal.SIGABRT:
                assert "memory allocation of" in self._said  # in safetensors
                count["aborted"] += 1
            elif "Traceback" in self._said:
                count["said in other words"] += 1
            else:
                told = self._has_told(run, ended, "enough memory", code=1)
                count["told" if told else "enough"] += 1
            runs.check_whole(run)
            self._goes_on(run)
        return dict(count)

    def _is_refused(self, run: Path, fate: Fate, why: str) -> bool:
        return self._has_told(run, self._command(run, fate), why, code=2)

    def _has_told(self, run: Path, ended: int | None, why: str, code: int) -> bool:
        """Whether the command failed, in which case it has told why in one paragraph."""
        said = self._said
        if ended == 0:
            return False
        assert ended == code, (ended, said)
        assert "Traceback" not in said, said
        told = said.splitlines()[-1]
        assert told.startswith("visarch: "), said
        assert why in told, said
        assert str(run) in told or str(run.name) in told, said
        if run.exists():
            runs.check_whole(run)
        return True

    def _goes_on(self, run: Path) -> None:
        before = runs.step(run)
        assert self._command(run, Fate()) == 0, self._said
        said = self._said
        if before is not None and "raining " in said:
            assert f"Going on after step {before}: training" in said, said
        runs.check_same(self.straight, run)

    def _command(self, run: Path, fate: Fate) -> int | None:
        log = self.folder / f"{self.task}.log"
        command = self.start(log, train(self.task, self.data, run), fate, run)
        code = command.wait()
        self._said = command.said
        return code
