"""The run folder: `runs/0003-vae-digits/` and what lies in it.

config.yaml        the settings, as they were given        environment.json  versions, hardware
data.json          files, classes, what was skipped        metrics.csv       one row per report
samples/           pictures by step                        checkpoints/      last, best
model/             the finished model                      evaluation.json   its metrics
report.html        all of it on one page
"""

import csv
import errno
import fcntl
import io
import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml

from visarch.errors import UserError
from visarch.training.atomic import remove_leftovers, replace_files, replace_text, writing
from visarch.training.config import TrainConfig, to_yaml

CONFIG, METRICS, EVALUATION = "config.yaml", "metrics.csv", "evaluation.json"
TASK = "task.json"
"""Beside a model's weights: its task, how its images were prepared, its classes."""
MODEL, MODEL_FILES = "model", ("config.json", "model.safetensors", TASK)
LOCK = ".lock"

T = TypeVar("T", list[Any], dict[str, Any])


def new_run_path(config: TrainConfig, task: str, root: Path = Path("runs")) -> Path:
    """Make the next numbered folder under `root`: 0001-vae-digits, 0002-…

    Safe against others that do so at the same moment.
    """
    label = config.name or f"{task}-{Path(config.data).stem}"
    slug = re.sub(r"[^\w.]+", "-", label).strip("-.").lower() or task
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        return _make_next(root, slug)


def _make_next(root: Path, slug: str) -> Path:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        _try_to_lock(descriptor, fcntl.LOCK_EX)
        taken = [int(m[1]) for p in root.iterdir() if (m := re.match(r"(\d{4,})-", p.name))]
        number = max(taken, default=0)
        while True:
            number += 1
            path = root / f"{number:04d}-{slug}"
            with suppress(FileExistsError):  # made just now, where there are no locks
                path.mkdir()
                return path
    finally:
        os.close(descriptor)


def open_run(config: TrainConfig, task: str) -> "RunFolder":
    """The run folder that the settings name: an existing one, or a new one.

    Raises:
        UserError: it cannot be had; see `RunFolder`.
    """
    if config.out is None:
        return RunFolder(new_run_path(config, task))
    path = Path(config.out)
    if config.name is not None and not (path / CONFIG).exists():
        raise UserError(
            f"--out {config.out} and --name {config.name} both say what the new run folder is "
            "called; give one of them."
        )
    return RunFolder(path)


def check_outside(config: TrainConfig) -> None:
    """That the run will not lie among its own images, where the next reading would find it.

    Raises:
        UserError: it would.
    """
    data, out = Path(config.data), Path(config.out or "runs")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise UserError(
            f"The run folder would lie in {out.resolve()}, inside --data {data}, and its pictures "
            "would be taken for images of yours: give an --out elsewhere, or start from another "
            "folder."
        )


class RunFolder:
    """A run folder that this process alone writes to, until `close`.

    `is_locked` is False where the file system knows no locks to see to that.

    Raises:
        UserError: another command works on it, it is no run folder and not empty, or the disk is
            full or refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file; give a folder, or a name for a new one.")
        if path.is_dir() and not _is_run(path):
            raise UserError(
                f"--out {path} has other things in it and is not a run folder (it has no "
                f"{CONFIG} of visarch's); give an empty folder or a name for a new one."
            )
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock, self.is_locked = _lock(path / LOCK)
            for folder in (self.samples, self.checkpoints):
                folder.mkdir(exist_ok=True)
            for folder in (path, self.samples, self.checkpoints, self.model):
                remove_leftovers(folder)
        self._columns = self._read_columns()
        self._last_step: float | None = None

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.safetensors"

    @property
    def model(self) -> Path:
        return self.path / MODEL

    def close(self) -> None:
        """Let other commands have the folder."""
        self._lock.close()

    def write_config(self, config: TrainConfig, task: str) -> None:
        replace_text(self.path / CONFIG, to_yaml(config, task=task))

    def read_config(self) -> dict[str, Any]:
        """What config.yaml holds: the key `task`, then the settings."""
        return read_config(self.path)

    def write_json(self, name: str, content: Any) -> None:
        replace_text(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def append_metrics(self, row: Mapping[str, float]) -> None:
        """Add a row to metrics.csv, with new columns where it has new names.

        A second row for the same step is merged into the first.
        """
        spelled = {name: _spelled(value) for name, value in row.items()}
        new = [name for name in row if name not in self._columns]
        if new or row["step"] == self._last_step:
            rows = self.read_metrics()
            if row["step"] == self._last_step:
                spelled = rows.pop() | spelled
            self._columns += new
            self._rewrite([*rows, spelled])  # in one go: a crash must not cost the first row
        else:
            line = io.StringIO()
            csv.DictWriter(line, self._columns, lineterminator="\n").writerow(spelled)
            path = self.path / METRICS
            with writing(path), path.open("a", encoding="utf-8", newline="") as file:
                file.write(line.getvalue())
        self._last_step = row["step"]

    def read_metrics(self) -> list[dict[str, str]]:
        """The rows of metrics.csv; a last line that a crash cut off is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        whole, _, _ = path.read_text("utf-8").rpartition("\n")
        return [
            {name: value for name, value in row.items() if value}
            for row in csv.DictReader(whole.splitlines())
        ]

    def truncate_metrics(self, step: int) -> None:
        """Forget the rows after `step`: they are about to be written again."""
        rows = [row for row in self.read_metrics() if self._step_of(row) <= step]
        self._rewrite(rows)
        self._last_step = self._step_of(rows[-1]) if rows else None

    def _step_of(self, row: Mapping[str, str]) -> int:
        step = row.get("step", "")
        if not step.isdecimal():
            raise UserError(
                f"{self.path / METRICS} has a row whose step is {step!r}, where a whole number "
                "belongs: mend that row, or take it out."
            )
        return int(step)

    def save_model(self, model: Any, facts: Mapping[str, Any]) -> None:
        """Write into model/ what `model.save_pretrained` writes, the weights last, and what one
        must know to use the model without its run."""

        def write(side: Path) -> None:
            model.save_pretrained(side)
            text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
            (side / TASK).write_text(text, encoding="utf-8")

        replace_files(self.model, write, last="model.safetensors")

    def _read_columns(self) -> list[str]:
        path = self.path / METRICS
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        if not self._columns:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_text(self.path / METRICS, text.getvalue())


def read_json(path: Path, kind: type[T]) -> T:
    """What a JSON file holds that a run writes anew; nothing where there is none.

    Raises:
        UserError: it is no JSON, or of another kind.
    """
    if not path.exists():
        return kind()
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMOVE}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} holds something else than a run writes there: {_REMOVE}")
    return content


_REMOVE = "remove it, and it is written anew."


def read_config(path: Path) -> dict[str, Any]:
    """What a run's config.yaml holds: the key `task`, then the settings.

    Raises:
        UserError: there is none, or it is no YAML mapping.
    """
    file = path / CONFIG
    if not file.is_file():
        raise UserError(f"{path} is not a run folder: it has no {CONFIG}.")
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or error
        raise UserError(f"{file} cannot be read as YAML: {why}{where}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold one setting per line, as `steps: 100`.")
    return content


def _is_run(path: Path) -> bool:
    """Whether a folder holds a run, or nothing but what one that was killed at once leaves."""
    if (path / CONFIG).exists():
        return "task" in read_config(path)
    return all(
        file.name in (LOCK, "samples", "checkpoints") or file.match(f".{CONFIG}*.partial")
        for file in path.iterdir()
    )


def _spelled(value: float) -> str:
    """A metric with nine significant digits, enough for any float32."""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _lock(path: Path) -> tuple[IO[str], bool]:
    """The lock that keeps a second command out, and whether there is one on this file system; the
    system lets go of it when a process dies."""
    file = path.open("a+", encoding="utf-8")
    try:
        is_locked = _try_to_lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise UserError(
            f"{path.parent} is in use by {holder}. Wait until it has finished, stop it, or give "
            "another --out."
        ) from error
    return file, is_locked


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF}


def _try_to_lock(descriptor: int, how: int) -> bool:
    """Lock a file, also against other machines where the file system is shared; False where it
    knows no locks, as some shared ones do, or none of folders, as NFS does."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
