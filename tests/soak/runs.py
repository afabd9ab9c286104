"""What must hold of a run folder, whatever has happened to the command that wrote it."""

import csv
import json
import time
from pathlib import Path

import yaml
from PIL import Image
from safetensors import safe_open

from visarch.training.checkpoint import load_checkpoint, read_state

from .commands import Start, train

LAST = "checkpoints/last.safetensors"
WEIGHTS = (LAST, "checkpoints/best.safetensors", "model/model.safetensors")
"""Bytes that a run on a CPU ends with, however often it was interrupted."""


def straight(start: Start, folder: Path, data: Path, task: str) -> tuple[Path, float]:
    """A run that nothing happens to, made once in each folder, and the seconds it took."""
    run, seconds = folder / f"{task}-straight", folder / f"{task}-seconds"
    if not seconds.exists():
        began = time.monotonic()
        command = start(folder / f"{task}.log", train(task, data, run))
        assert command.wait() == 0, command.said
        seconds.write_text(str(time.monotonic() - began))
    return run, float(seconds.read_text())


def step(run: Path) -> int | None:
    """The step of the last checkpoint."""
    return read_state(run / LAST)["step"] if (run / LAST).exists() else None


def logged(run: Path) -> int:
    """The last step that metrics.csv tells of; 0 before the first."""
    rows = metrics(run)
    return int(rows[-1]["step"]) if rows else 0


def metrics(run: Path) -> list[dict[str, str]]:
    """The whole rows of metrics.csv, without the one column that is about time."""
    path = run / "metrics.csv"
    if not path.exists():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    rows = list(csv.DictReader(whole.splitlines()))
    return [{k: v for k, v in row.items() if v and k != "images_per_second"} for row in rows]


def check_whole(run: Path) -> int:
    """Read every file that has its name, to its end; returns how many there were."""
    files = [p for p in run.rglob("*") if p.is_file() and not _hidden(p.relative_to(run))]
    for path in files:
        _read(path)
    return len(files)


def _read(path: Path) -> None:
    if path.parent.name == "checkpoints":
        load_checkpoint(path)
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".yaml":
        assert "task" in yaml.safe_load(path.read_text("utf-8"))
    elif path.suffix == ".html":
        assert path.read_text("utf-8").rstrip().endswith("</html>")
    else:
        assert path.name in ("metrics.csv", "README.md"), f"what is {path}?"


def check_same(one: Path, other: Path) -> None:
    """Every byte of the weights, every number that was measured, every picture and the report."""
    for name in WEIGHTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics(one) == metrics(other)
    for name in ("evaluation.json", "data.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    odd = _names(one) ^ _names(other)
    assert not odd, f"left over or missing: {odd}"


def _names(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*")}


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
