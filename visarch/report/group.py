"""Several runs of one task: what tells them apart, and which of them does best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from statistics import median
from typing import Any, NamedTuple, get_args

from visarch.report.chart import RUN_COLORS, Dashes
from visarch.report.curves import training_seconds
from visarch.report.meaning import HEADLINE, meaning, ordered
from visarch.report.run import Result, Run
from visarch.report.settings import settings
from visarch.report.spelling import setting

_OWN = {"out", "name"}
"""Settings that say what a run is called, not what it does."""
_ENVIRONMENT = ("device", "processes", "processor", "cores", "threads", "commit")
_SETTLED_BY_SETTINGS = {"loss"}
"""What different settings make a different quantity of; it makes no run better than another."""


@dataclass(frozen=True)
class Entry:
    """A run among others."""

    name: str
    """As much of its path as tells it from the others."""
    run: Run
    color: str
    """Of the page's colors, the one that its curves have."""
    dashes: Dashes
    """How these are drawn; they are not solid where colors have run out."""

    def result(self, split: str) -> Result | None:
        """What was measured on a split; None where nothing was."""
        return next((result for result in self.run.results if result.split == split), None)


class Difference(NamedTuple):
    """Something in which runs differ."""

    name: str
    values: Sequence[str | None]
    """For each run; None where it does not have it at all."""


def by_task(runs: Iterable[Run]) -> dict[str, list[Entry]]:
    """Runs by what they were trained for, in the order in which they come."""
    runs = list(runs)
    groups: dict[str, list[tuple[str, Run]]] = {}
    for name, run in zip(_names(runs), runs, strict=True):
        groups.setdefault(run.task, []).append((name, run))
    looks = [(color, dashes) for dashes, color in product(get_args(Dashes), RUN_COLORS)]
    return {
        task: [Entry(name, run, *look) for (name, run), look in zip(group, cycle(looks))]
        for task, group in groups.items()
    }


def splits(entries: Sequence[Entry]) -> list[str]:
    """The held-out splits that something was measured on."""
    return list(dict.fromkeys(result.split for entry in entries for result in entry.run.results))


def judged_splits(entries: Sequence[Entry]) -> list[str]:
    """The splits on which the metric was measured that the task is judged by."""
    headline = HEADLINE.get(entries[0].run.task)
    return [split for split in splits(entries) if headline in metrics(entries, split)]


def metrics(entries: Sequence[Entry], split: str) -> list[str]:
    """What was measured on a split, in the order in which it is shown."""
    found = [result for entry in entries if (result := entry.result(split))]
    return ordered(entries[0].run.task, dict.fromkeys(name for r in found for name in r.metrics))


def same_images(entries: Sequence[Entry], split: str) -> bool:
    """Whether what was measured on a split was measured on the same images, as far as one can know.

    For classes it is enough that they are the same samples, whatever size they have; for what
    counts the bits of their pixels these must be equal, too.
    """
    measured = [entry.run for entry in entries if entry.result(split)]
    contents = [run.data.get("fingerprint") for run in measured]
    if None not in contents and len({*map(str, contents)}) <= 1:
        return True
    if any(run.task != "classifier" for run in measured):
        return False
    names = [run.data.get("splits", {}).get(split, {}).get("names") for run in measured]
    sources = [run.data.get("source") for run in measured]
    same = all(x == names[0] for x in names) and all(x == sources[0] for x in sources)
    return same and bool(names[0])


def winners(entries: Sequence[Entry], split: str, name: str) -> set[int]:
    """Positions of the runs that are best by a metric; none where they do not compare, or do not
    differ."""
    better = meaning(name).better
    results = enumerate(entry.result(split) for entry in entries)
    values = {place: r.metrics[name] for place, r in results if r and name in r.metrics}
    values = {place: value for place, value in values.items() if math.isfinite(value)}
    distinct = {*values.values()}
    if not better or name in _SETTLED_BY_SETTINGS or len(distinct) < 2:
        return set()
    if not same_images(entries, split):
        return set()
    best = min(distinct) if better == "lower" else max(distinct)
    return {place for place, value in values.items() if value == best}


def settings_apart(entries: Sequence[Entry]) -> list[Difference]:
    """Settings that the runs do not share, then what was inferred differently beside them.

    One that a run does not have, as older ones may not, counts where another run departs from its
    default.
    """
    every = [[s for s in settings(entry.run) if s.name not in _OWN] for entry in entries]
    changed = {s.name for of_run in every for s in of_run if s.differs}
    given = [
        difference
        for difference in _apart({s.name: setting(s.value) for s in of_run} for of_run in every)
        if difference.name in changed or None not in difference.values
    ]
    told = {name.rpartition(".")[2].replace("_", " ") for name, _ in given}
    inferred = _apart(
        {
            f"{what} (inferred)": reason.get("value", "")
            for reason in entry.run.data.get("reasons", [])
            if (what := reason.get("what", "")) not in told
        }
        for entry in entries
    )
    return given + inferred


def environment_apart(entries: Sequence[Entry]) -> list[Difference]:
    """What the runs ran on, at the last start of each, as far as it is not the same."""
    described = []
    for entry in entries:
        last = entry.run.starts[-1] if entry.run.starts else {}
        facts = {name: setting(last[name]) for name in _ENVIRONMENT if name in last}
        described.append(facts | {k: str(v) for k, v in last.get("versions", {}).items()})
    return _apart(described)


def speed(run: Run) -> float | None:
    """Images per second in training: the median over the run."""
    speeds = [row.get("images_per_second", math.nan) for row in run.rows]
    finite = [speed for speed in speeds if math.isfinite(speed)]
    return median(finite) if finite else None


def record(entry: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    """A run's numbers among others of its task, for programs."""
    run, place = entry.run, entries.index(entry)
    return {
        "run": str(run.path),
        "name": entry.name,
        "task": run.task,
        "finished": run.finished,
        "step": run.step,
        "total_steps": run.total_steps,
        "metrics": {result.split: dict(result.metrics) for result in run.results},
        "best": {
            result.split: [n for n in result.metrics if place in winners(entries, result.split, n)]
            for result in run.results
        },
        "measured_at_step": {result.split: result.step for result in run.results},
        "training_seconds": training_seconds(run),
        "images_per_second": speed(run),
        "parameters": run.num_parameters,
        "device": run.starts[-1].get("device") if run.starts else None,
        "processor": run.starts[-1].get("processor") if run.starts else None,
        "problems": run.problems,
    }


def _apart(descriptions: Iterable[Mapping[str, str]]) -> list[Difference]:
    """What is not the same in all descriptions."""
    described = list(descriptions)
    names = dict.fromkeys(name for one in described for name in one)
    rows = [Difference(name, [one.get(name) for one in described]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _names(runs: Sequence[Run]) -> list[str]:
    """The ends of the runs' paths, each as long as it must be to be like no other."""
    parts = [run.path.resolve().parts for run in runs]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        names.append("/".join(own[-length:]).replace("//", "/"))
    return names
