"""`visarch web` in a process of its own, whose memory and files are watched from outside."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .visitor import PATIENCE

_CALLS = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat"
_CALLS += ",symlink,symlinkat,truncate,chmod,fchmodat,execve,connect"
_CHANGING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")


class Served:
    """A page that is being shown, and what has been seen of it."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], address: str) -> None:
        self.folder, self.process, self.address = folder, process, address
        self.memory: list[float] = []
        """MiB that it has, each half second."""
        self.temporary: list[float] = []
        """MiB of its temporary files, as often."""
        self.began = 0
        """Bytes of its trace that were written before it was there."""

    @property
    def log(self) -> str:
        """All that it has said on stderr."""
        return (self.folder / "stderr").read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def status(self, name: str) -> int:
        """A number of the system's about it: VmRSS and VmHWM in kB, Threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        assert match, text
        return int(match[1])

    @property
    def connections(self) -> int:
        """Files and connections that it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def note(self) -> None:
        """Write down what it takes now."""
        self.memory.append(self.status("VmRSS") / 1024)
        self.temporary.append(size(self.folder / "tmp") / 2**20)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Write it down each half second."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5) and self.is_alive:
                self.note()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def touched(self, allowed: Sequence[Path]) -> tuple[int, list[str]]:
        """How often it opened or changed a file since it was there, or connected; and each time
        that it may not: it may read in these folders and Python's own, and write in its own.

        Neither where it was not traced.
        """
        trace = self.folder / "trace"
        if not trace.exists():
            return 0, []
        own = str((self.folder / "tmp").resolve())
        readable = [own, *map(str, allowed), *_PYTHON, *_SYSTEM]
        looked_at, found = 0, []
        with trace.open(errors="replace") as lines:
            lines.seek(self.began)
            for line in lines:
                path = _path(line)
                if path is None or "= -1 " in line or _FONTS.search(line):  # -1: it has failed
                    continue
                looked_at += 1
                changes = "open" not in line.split("(")[0] or _CHANGING.search(line)
                if changes and path == "/dev/null":
                    continue
                places = [own] if changes else readable
                if not any(path == place or path.startswith(f"{place}/") for place in places):
                    found.append(line)
        return looked_at, found


_PYTHON = [str(Path(name).resolve()) for name in {*sys.path, sys.prefix, sys.base_prefix} if name]
_PYTHON += [sys.prefix, str(Path(__file__).parents[3])]
_SYSTEM = ["/proc", "/sys", "/dev", "/usr", "/lib", "/lib64", "/etc", "/var/cache/fontconfig"]
_FONTS = re.compile(r'execve\("[^"]*/fc-list"')  # by which Matplotlib finds some


def _path(line: str) -> str | None:
    """The path that a line of the trace is about; of a connection its address."""
    if re.search(r"\bconnect\(", line):
        return line if "sa_family=AF_INET" in line else None
    found = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', line)
    return os.path.normpath(os.path.join(*found[-1])) if found else None


@contextlib.contextmanager
def served(folder: Path, *sources: Path, traced: bool = False) -> Iterator[Served]:
    """`visarch web` on these runs; where it is traced, every file that it opens is written down."""
    for name in ("home", "here", "tmp"):
        (folder / name).mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "visarch", "web", *map(str, sources), "--port", "0"]
    if traced:
        flags = ["-D", "-f", "-y", "--seccomp-bpf", "-s", "4096", "-e", f"trace={_CALLS}"]
        command = ["strace", *flags, "-o", str(folder / "trace"), *command]
    with (folder / "stderr").open("w") as complaints:
        process = subprocess.Popen(
            [*command, "--device", "cpu"],
            cwd=folder / "here",
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("The page is at http"), (folder / "stderr").read_text()
        page = Served(folder, process, line.split()[4])
        if traced:
            page.began = (folder / "trace").stat().st_size
        try:
            yield page
        finally:
            process.kill()


def can_trace() -> bool:
    """Whether this system lets us see which files a process opens."""
    strace = shutil.which("strace")
    return (
        bool(strace)
        and not subprocess.run(
            ["strace", "-D", "-f", "--seccomp-bpf", "-o", os.devnull, "true"], capture_output=True
        ).returncode
    )


def size(folder: Path) -> int:
    """Bytes of the files in a folder, of which some may be going."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def ended(page: Served, number: int) -> tuple[int, float]:
    """End it with a signal: its exit code, and the seconds it took."""
    began = time.monotonic()
    page.process.send_signal(number)
    return page.process.wait(PATIENCE), time.monotonic() - began
