"""``visarch report``: the page of a run, or several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from visarch.report.group import Entry
    from visarch.report.run import Run

Groups = Mapping[str, Sequence["Entry"]]
"""Runs by task."""


@dataclass(frozen=True)
class Report:
    """Write the report of a run, or a page that puts several runs side by side.

    One run gets its report.html written anew. Several make one page: the settings that differ,
    metrics with the best marked, curves in the same charts, pictures beside each other. `visarch
    report runs/*` takes all there are, and leaves out what is no run.
    """

    runs: Positional[tuple[Path, ...]]
    """The run folders."""
    out: Path | None = None
    """The .html to write, or a folder; by default report.html in the run folder for one run,
    runs-compared.html here for several."""

    def main(self) -> None:
        from visarch.outputs import place_in
        from visarch.report import write_comparison, write_report
        from visarch.report.group import by_task
        from visarch.terminal import note, tell

        found = _find(self.runs)
        for text in [*found.left_out, *found.unreadable]:
            note(text)
        several = len(found.runs) + len(found.unreadable) > 1
        if several:
            page = place_in(Path(), self.out, "runs-compared", ".html")
            write_comparison(found.runs, page, found.unreadable)
        else:
            folder = found.runs[0].path
            page = write_report(folder, place_in(folder, self.out, "report", ".html"))
        groups = by_task(found.runs)
        tables = [_table(entries) for entries in groups.values()]
        written = f"{'Comparison' if several else 'Report'}: {page}"
        tell(_record(page, groups, found), [*tables, written])


class _Found(NamedTuple):
    """What stands at the paths that were named."""

    runs: list[Run]
    left_out: list[str]
    """What is no run, a sentence each."""
    unreadable: list[str]
    """Runs whose settings cannot be read, a sentence each."""


def _find(paths: Sequence[Path]) -> _Found:
    """The runs at some paths, each once, however often it is named.

    Raises:
        UserError: there is nothing at a path, or no run that can be read at any.
    """
    from visarch.report.run import read_run
    from visarch.training.runfolder import CONFIG

    if not paths:
        raise UserError("Say which runs to report on, as in `visarch report runs/*`.")
    found = _Found([], [], [])
    once: dict[Path, Path] = {}
    for path in paths:
        once.setdefault(path.resolve(), path)
    for path in once.values():
        if not path.exists():
            raise UserError(f"There is no {path}.")
        if not (path / CONFIG).is_file():
            found.left_out.append(f"{path} is not a run folder{_inside(path)}: left out.")
            continue
        try:
            found.runs.append(read_run(path))
        except UserError as error:
            found.unreadable.append(str(error))
    if not found.runs:
        what = found.unreadable or [text.replace(": left out", "") for text in found.left_out]
        raise UserError(" ".join(what))
    return found


def _inside(path: Path) -> str:
    """What a folder has instead of settings, if these are runs."""
    from visarch.training.runfolder import CONFIG

    runs = sorted(path.glob(f"*/{CONFIG}"))
    return f", but has {len(runs)} inside (give `{path}/*`)" if runs else f" (it has no {CONFIG})"


def _table(entries: Sequence[Entry]) -> Table:
    """What a task is judged by, and what it took: a line for each run."""
    from rich.table import Table

    from visarch.report.curves import training_seconds
    from visarch.report.group import judged_splits, speed, winners
    from visarch.report.meaning import HEADLINE, TASKS, meaning
    from visarch.report.spelling import duration, number

    task = entries[0].run.task
    headline, splits = HEADLINE.get(task, ""), judged_splits(entries)
    table = Table(TASKS.get(task, task), "steps", header_style="bold")
    for title in [f"{meaning(headline).title}\n{split}" for split in splits]:
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("training", "images/s", "parameters"):
        table.add_column(title, justify="right", no_wrap=True)
    best = {split: winners(entries, split, headline) for split in splits}
    for place, entry in enumerate(entries):
        run, seconds, images = entry.run, training_seconds(entry.run), speed(entry.run)
        of = f" of {run.total_steps:,}" if run.total_steps and not run.finished else ""
        row = [entry.name, f"{run.step:,}{of}"]
        for split in splits:
            result = entry.result(split)
            value = result.metrics.get(headline) if result else None
            star = "★ " if place in best[split] else ""
            row.append("–" if value is None else star + meaning(headline).spelled(value))
        row.append(duration(seconds) if seconds else "–")
        row += [number(round(x)) if x else "–" for x in (images, run.num_parameters)]
        table.add_row(*row)
    return table


def _record(page: Path, groups: Groups, found: _Found) -> dict[str, Any]:
    """All that is compared, for programs."""
    from visarch.report.group import environment_apart, record, settings_apart

    def apart(entries: Sequence[Entry]) -> dict[str, dict[str, str | None]]:
        names = [entry.name for entry in entries]
        differences = [*settings_apart(entries), *environment_apart(entries)]
        return {d.name: dict(zip(names, d.values, strict=True)) for d in differences}

    return {
        "page": str(page),
        "runs": [record(entry, entries) for entries in groups.values() for entry in entries],
        "differences": {task: apart(entries) for task, entries in groups.items()},
        "left_out": found.left_out,
        "unreadable": found.unreadable,
    }
