"""What a run folder holds, read without a lock and without trust: any of it may be missing, cut
off, or still being written."""

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from visarch.errors import UserError
from visarch.training.checkpoint import read_state
from visarch.training.runfolder import EVALUATION, METRICS, read_config

Row = dict[str, float]

_DATA = {
    "preparation": {"shape": [int], "levels": (int, None)},
    "reasons": [{"what": str, "value": str, "why": str}],
    "skipped": [{"name": str, "why": str}],
    "splits": {...: {"count": int, "classes": ({...: int}, None), "names": [str]}},
}
_STARTS = [{"versions": dict}]
_EVALUATION = {"step": int, "metrics": {...: dict}}
_PROGRESS = {"step": int, "total_steps": (int, None)}


class Result(NamedTuple):
    """What was measured on one held-out split."""

    split: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """All that a report tells of a run."""

    path: Path
    task: str
    config: dict[str, Any]
    """config.yaml without the task."""
    data: dict[str, Any]
    """data.json; empty where there is none."""
    starts: list[dict[str, Any]]
    """environment.json: one entry for each time the run was begun or gone on with."""
    evaluation: dict[str, Any]
    """evaluation.json; empty before the run has finished."""
    rows: list[Row]
    """metrics.csv, each row with its `step`; values may be non-finite."""
    pictures: dict[str, dict[int, Path]]
    """Pictures in samples/ by name and step."""
    progress: dict[str, Any]
    """The last checkpoint's state; empty where there is none."""
    num_parameters: int | None
    problems: list[str]
    """What could not be read, a sentence each."""

    @property
    def step(self) -> int:
        """Steps done, as far as the folder tells."""
        evaluated = self.evaluation.get("step", 0)
        logged = int(self.rows[-1]["step"]) if self.rows else 0
        return int(self.progress.get("step", max(evaluated, logged)))

    @property
    def total_steps(self) -> int | None:
        """Steps that the run is to have, where that is settled."""
        total = self.progress.get("total_steps") or self.number("steps")
        return int(total) if total else None

    def number(self, setting: str) -> float | None:
        """A setting that is a number; None where it is left open, or is something else."""
        value = self.config.get(setting)
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    @property
    def finished(self) -> bool:
        """Whether the run was measured after its last step."""
        return bool(self.evaluation) and self.evaluation.get("step") == self.step

    @property
    def results(self) -> list[Result]:
        """The latest measurement of each held-out split: that of the finished model, or those along
        the way where there is none yet."""
        measured = self.evaluation.get("metrics", {})
        if measured:
            step = int(self.evaluation.get("step", self.step))
            found = [Result(split, step, _numbers(values)) for split, values in measured.items()]
            return [result for result in found if result.metrics]
        latest: dict[str, Result] = {}
        for row in self.rows:
            for split in self.splits:
                metrics = {
                    name.removeprefix(f"{split}/"): value
                    for name, value in row.items()
                    if name.startswith(f"{split}/")
                }
                if metrics:
                    latest[split] = Result(split, int(row["step"]), metrics)
        return list(latest.values())

    @property
    def judged(self) -> Result | None:
        """The result that stands for the run: on the test images, if there are any."""
        by_split = {result.split: result for result in self.results}
        first = next(iter(by_split.values()), None)
        return by_split.get("test") or by_split.get("validation") or first

    @property
    def splits(self) -> dict[str, Any]:
        """Held-out splits as data.json describes them; those that every run may have without it."""
        described = self.data.get("splits") or {"validation": {}, "test": {}}
        return {name: split for name, split in described.items() if name != "train"}

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(C, *spatial)."""
        shape = self.data.get("preparation", {}).get("shape")
        return tuple(shape) if shape else None

    def count(self, split: str) -> int | None:
        """How many images a split has."""
        return self.data.get("splits", {}).get(split, {}).get("count")

    def class_counts(self, split: str) -> dict[str, int]:
        """How many images of each class a split has; empty where there are no classes."""
        return self.data.get("splits", {}).get(split, {}).get("classes") or {}

    @property
    def latent_dim(self) -> int | None:
        """How many latents a VAE has."""
        model = self.config.get("model")
        latent_dim = model.get("latent_dim") if isinstance(model, dict) else None
        return latent_dim if isinstance(latent_dim, int) else None

    @property
    def levels(self) -> int | None:
        """Values a pixel can have; None where they are continuous or not known."""
        levels = self.data.get("preparation", {}).get("levels") or 0
        return levels if levels > 0 else None


def read_run(path: Path) -> Run:
    """Read a run folder, whatever of it there is.

    Raises:
        UserError: it is not a run folder, or its settings cannot be read.
    """
    config = read_config(path)
    problems: list[str] = []
    progress, num_parameters = _read_checkpoint(path / "checkpoints" / "last.safetensors", problems)
    return Run(
        path=path,
        task=str(config.pop("task", "unknown")),
        config=config,
        data=_read_json(path / "data.json", _DATA, problems),
        starts=_read_json(path / "environment.json", _STARTS, problems),
        evaluation=_read_json(path / EVALUATION, _EVALUATION, problems),
        rows=_read_metrics(path / METRICS, problems),
        pictures=_find_pictures(path / "samples"),
        progress=progress,
        num_parameters=num_parameters,
        problems=problems,
    )


def _read_json(path: Path, pattern: Any, problems: list[str]) -> Any:
    """A file's content, if it has the form that it should; what is empty otherwise."""
    nothing = type(pattern)()
    if not path.exists():
        return nothing
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError as well
        problems.append(f"{path.name} cannot be read ({error}) and was left out.")
        return nothing
    if not _has_form(content, pattern):
        problems.append(f"{path.name} does not hold what it should, and was left out.")
        return nothing
    return content


def _has_form(content: Any, pattern: Any) -> bool:
    """Whether JSON looks like the pattern: a type or None; a tuple of patterns, one of which it
    looks like; a list with the pattern of its items; or a dict with patterns for keys that may be
    there, or with one, at `...`, for the value of any key."""
    if pattern is None or isinstance(pattern, type):
        return content is None if pattern is None else isinstance(content, pattern)
    if isinstance(pattern, tuple):
        return any(_has_form(content, one) for one in pattern)
    if isinstance(pattern, list):
        return isinstance(content, list) and all(_has_form(item, pattern[0]) for item in content)
    return isinstance(content, dict) and all(
        _has_form(value, pattern.get(name, pattern.get(..., object)))
        for name, value in content.items()
    )


def _read_metrics(path: Path, problems: list[str]) -> list[Row]:
    """The rows that have a step, with the cells that are numbers; the latest row of each step."""
    if not path.exists():
        return []
    # a crash may cut off the last line: what is left of a number is another number
    whole, _, rest = path.read_text("utf-8", errors="replace").rpartition("\n")
    if rest:
        problems.append(f"The last line of {METRICS} is cut off and was left out.")
    rows: dict[float, Row] = {}
    num_bad = 0
    try:
        for cells in csv.DictReader(whole.splitlines()):
            row = {name: _number(cell) for name, cell in cells.items() if name and cell}
            step = row.get("step")
            # a line that is too long or too short has its extra cells, or None, under None
            odd = None in cells or None in cells.values()
            num_bad += odd or None in row.values() or step is None
            if step is not None and math.isfinite(step):
                numbers = {name: value for name, value in row.items() if value is not None}
                rows[step] = rows.get(step, {}) | numbers
    except csv.Error as error:
        problems.append(f"{METRICS} cannot be read to its end ({error}).")
    if num_bad:
        lines = "1 line" if num_bad == 1 else f"{num_bad} lines"
        problems.append(f"{lines} of {METRICS} could not be read in full.")
    return [rows[step] for step in sorted(rows)]


def _numbers(metrics: Mapping[str, Any]) -> Row:
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _read_checkpoint(path: Path, problems: list[str]) -> tuple[dict[str, Any], int | None]:
    """The state of a checkpoint, and how many numbers its optimizer updates."""
    if not path.exists():
        return {}, None
    try:
        state = read_state(path)
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            # optimizer.exp_avg.decoder.f_in.weight: what has such a state is a parameter
            trained = {name.split(".", 2)[2] for name in names if name.startswith("optimizer.")}
            shapes = [file.get_slice(f"model.{name}").get_shape() for name in sorted(trained)]
    except (UserError, SafetensorError, OSError) as error:
        problems.append(f"The last checkpoint cannot be read: {error}")
        return {}, None
    if not _has_form(state, _PROGRESS):
        problems.append("The last checkpoint does not say what it should of its run.")
        state = {}
    return state, sum(math.prod(shape) for shape in shapes) or None


def _find_pictures(folder: Path) -> dict[str, dict[int, Path]]:
    """step-000500-samples.png is the picture `samples` at step 500."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("step-*.png")):
        if match := re.fullmatch(r"step-(\d+)-(.+)\.png", path.name, re.DOTALL):
            found.setdefault(match[2], {})[int(match[1])] = path
    return found
