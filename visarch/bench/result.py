"""What a benchmark found: as JSON, as tables on the terminal, and as rows of docs/benchmarks.md."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from visarch.bench.harness import Lap, Outcome
from visarch.bench.statistics import QUIET
from visarch.training.environment import describe_environment

if TYPE_CHECKING:
    from rich.table import Table

_ENVIRONMENT = ("started", "commit", "versions", "platform", "processor", "cores", "threads")
_VERDICTS = {True: "met", False: "missed", None: "too noisy"}


def record(
    name: str, races: Sequence[Mapping[str, Any]], packages: Sequence[str]
) -> dict[str, Any]:
    """All that a benchmark found, as JSON can hold it.

    Args:
        name: of the benchmark.
        races: what :func:`race_record` says of each.
        packages: whose versions matter beside our own.
    """
    environment = describe_environment(torch.device("cpu"), 1)
    kept = {key: environment[key] for key in _ENVIRONMENT}
    kept["versions"] |= {package: version(package) for package in packages}
    command = shlex.join(["visarch", *sys.argv[1:]])
    return {"benchmark": name, "command": command, "races": list(races)} | kept


def race_record(outcome: Outcome) -> dict[str, Any]:
    """What a race showed."""
    race = outcome.race
    return {
        "title": race.title,
        "count": race.count,
        "unit": race.unit,
        "ours": _lap(outcome.ours, race.count),
        "peers": [
            _lap(lap, race.count)
            | {
                "ratio": outcome.ratio(lap)._asdict(),
                "bar": lap.contender.bar,
                "met": outcome.reaches(lap, lap.contender.bar),
                "stretch": lap.contender.stretch,
                "stretch_met": outcome.reaches(lap, lap.contender.stretch),
            }
            for lap in outcome.peers
        ],
        "limit": race.limit,
        "within_limit": outcome.within_limit,
        "control": outcome.control._asdict() | {"quiet": outcome.is_quiet},
        "agreements": [agreement._asdict() for agreement in outcome.agreements],
    }


def tables(found: Mapping[str, Any]) -> Iterator[Table | str]:
    """A benchmark's record for the terminal: a table and some lines for each race."""
    for race in found["races"]:
        yield _table(race)
        yield from _remarks(race)
    yield environment_line(found)


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """The table of docs/benchmarks.md: a row for each peer and for each limit, and under it where
    and how each benchmark was measured."""
    rows, notes = [], []
    for number, found in enumerate(records, start=1):
        rounds = ", ".join(str(len(race["ours"]["turns"])) for race in found["races"])
        notes.append(
            f"{number}. `{found['command']}`, rounds: {rounds}; {environment_line(found)}; "
            f"{found['started'][:10]}, commit {(found['commit'] or 'unknown')[:10]}\n"
        )
        for race in found["races"]:
            what = f"`{found['benchmark']}` ({number})", race["title"], _speed(race, race["ours"])
            for peer in race["peers"]:
                bar = "—", "—"
                if peer["bar"] is not None:
                    bar = f"≥ {peer['bar']:g}×", _VERDICTS[peer["met"]]
                compared = peer["name"], _speed(race, peer), _ratio(peer["ratio"])
                rows.append((*what, *compared, *bar))
            if race["limit"] is not None:
                bar = f"≤ {race['limit']:g} s", _VERDICTS[race["within_limit"]]
                rows.append((*what, "—", "—", "—", *bar))
    heading = ("benchmark", "", "ours", "peer", "its speed", "ours is faster by", "bar", "")
    lines = [heading, ("---",) * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n" + "".join(notes)


def environment_line(found: Mapping[str, Any]) -> str:
    """Hardware and versions in one line."""
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    return f"{found['processor']}, {found['threads']} of {found['cores']} cores; {versions}"


def _lap(lap: Lap, count: int) -> dict[str, Any]:
    return {
        "name": lap.contender.name,
        "note": lap.contender.note,
        "seconds": lap.seconds._asdict(),
        "per_second": count / lap.seconds.median,
        "made_seconds": lap.made,
        "first_call_seconds": lap.first_call,
        "calls_per_turn": lap.calls,
        "repeats": lap.contender.repeats,
        "turns": lap.turns,
    }


def _table(race: Mapping[str, Any]) -> Table:
    from rich.table import Table

    title = f"{race['title']}: median of {len(race['ours']['turns'])} rounds"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("")
    for heading in (
        f"{race['unit']}/s",
        "seconds",
        "made in",
        "first call",
        "ours is faster by",
        "bar",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for lap in (race["ours"], *race["peers"]):
        table.add_row(
            lap["name"],
            f"{lap['per_second']:.4g}",
            _interval(lap["seconds"]),
            f"{lap['made_seconds']:.1f} s",
            f"{lap['first_call_seconds']:.2g} s",
            _ratio(lap["ratio"]) if "ratio" in lap else "",
            "".join(_bars(race, lap)),
        )
    return table


def _bars(race: Mapping[str, Any], lap: Mapping[str, Any]) -> Iterator[str]:
    if lap is race["ours"] and race["limit"] is not None:
        yield f"≤ {race['limit']:g} s: {_VERDICTS[race['within_limit']]}"
    if lap.get("bar"):
        yield f"≥ {lap['bar']:g}×: {_VERDICTS[lap['met']]}"
    if lap.get("stretch"):
        yield f" (≥ {lap['stretch']:g}×: {_VERDICTS[lap['stretch_met']]})"


def _remarks(race: Mapping[str, Any]) -> Iterator[str]:
    for lap in (race["ours"], *race["peers"]):
        if lap["note"]:
            yield f"{lap['name']}: {lap['note']}"
    for agreement in race["agreements"]:
        yield (
            f"compared with {agreement['what']}: they differ by {agreement['difference']:.1g} (at "
            f"most {agreement['tolerance']:g} may be)"
        )
    control = race["control"]
    found = f"ours against ours: {_ratio(control)}"
    if control["quiet"]:
        yield f"{found}, within {QUIET:.0%}: the machine is quiet enough"
    else:
        yield (
            f"{found}, and not within {QUIET:.0%}: the machine is too noisy for these numbers to "
            "mean anything; end what else is running and measure again, with more --rounds"
        )


def _speed(race: Mapping[str, Any], lap: Mapping[str, Any]) -> str:
    return f"{lap['per_second']:.3g} {race['unit']}/s"


def _ratio(interval: Mapping[str, Any]) -> str:
    return _interval(interval, "×")


def _interval(interval: Mapping[str, Any], unit: str = "") -> str:
    """1.23× [1.21, 1.25], and the confidence where it is not the usual."""
    text = f"{interval['median']:.3g}{unit} [{interval['low']:.3g}, {interval['high']:.3g}]"
    confidence = interval["confidence"]
    return text if confidence >= 0.95 else f"{text} at {confidence:.0%}"
