"""The curves of a run: what metrics.csv holds, one small chart for each quantity."""

import math
from typing import NamedTuple

from visarch.objectives.elbo import bits_per_dim
from visarch.report.chart import Curve, chart
from visarch.report.markup import Html, element
from visarch.report.meaning import METRICS, meaning
from visarch.report.run import Row, Run
from visarch.report.spelling import short

_SPLITS = ("train", "validation", "test")
_NOT_SHOWN = {"step", "skipped_steps", "ELBO"}
"""Told elsewhere on the page, or by the other curves."""
_LOGARITHMIC = {"gradient_norm", "loss"}
"""What is drawn on a log scale if its largest value is this many times its smallest:"""
_LOG_FROM = 20.0
_BEGINNING = 0.1
"""Share of the steps whose values may leave the chart, so that the others can be told apart."""


class Panel(NamedTuple):
    """One quantity over the steps: in training, and on the validation images."""

    name: str
    curves: list[Curve]


class View(NamedTuple):
    """How a panel is drawn, and what has to be said about it."""

    log: bool
    limits: tuple[float, float] | None
    line: float | None
    notes: list[str]


def curve_figures(run: Run) -> list[Html]:
    """A chart for every quantity that was written down at least twice."""
    return [
        _figure(panel, view(panel, run), number, run.rows[-1]["step"])
        for number, panel in enumerate(panels(run))
    ]


def panels(run: Run) -> list[Panel]:
    """The columns of metrics.csv by quantity, in the order in which they are shown."""
    columns: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in _in_bits(run):
        for column, value in row.items():
            split, _, name = column.partition("/")
            if split not in _SPLITS:
                split, name = "train", column
            if name not in _NOT_SHOWN and split != "test":
                point = row["step"], meaning(name).scale * value
                columns.setdefault(name, {}).setdefault(split, []).append(point)
    order = [*METRICS, *columns]
    return [
        Panel(name, [Curve(split, points) for split, points in sorted(splits.items())])
        for name, splits in sorted(columns.items(), key=lambda item: order.index(item[0]))
        if any(len(points) > 1 for points in splits.values())
    ]


def view(panel: Panel, run: Run) -> View:
    """Scale, limits and notes that show most of a panel's values."""
    points = [point for curve in panel.curves for point in curve.finite]
    notes = _best(panel)
    num_bad = sum(len(curve.points) for curve in panel.curves) - len(points)
    if num_bad:
        notes.append(f"× {num_bad} not finite")
    line = run.number("clip") if panel.name == "gradient_norm" else None
    log, limits = scale(panel.name, [points])
    if line:
        shown = limits is None or limits[0] <= line <= limits[1]
        notes.append(f"{'dashed: ' if shown else ''}clipped to {short(line)}")
    if limits:
        notes.append(f"starts at {short(points[0][1])}, off the chart")
    return View(log, limits, line or None, notes)


def scale(
    name: str, runs: list[list[tuple[float, float]]]
) -> tuple[bool, tuple[float, float] | None]:
    """Whether a quantity is on a log scale, and limits if its first values are to be off the chart.

    Args:
        name: the quantity.
        runs: its finite values over the steps, for each run that shares the chart.
    """
    if name in _LOGARITHMIC and _wide([value for points in runs for _, value in points]):
        return True, None
    return False, None if name == "learning_rate" else _limits(runs)


def _in_bits(run: Run) -> list[Row]:
    """The rows with training's nats/dim as bits/dim, so that it shares a chart with validation's;
    without the loss where that is the same number once more."""
    rows = [dict(row) for row in run.rows]
    same = all(row.get("loss") == row.get("nats/dim") for row in rows)
    for row in rows:
        if "nats/dim" in row:
            row["bits/dim"] = bits_per_dim(-row.pop("nats/dim"), 1, run.levels)
        if same:
            row.pop("loss", None)
    return rows


def _best(panel: Panel) -> list[str]:
    """Where the validation curve was at its best."""
    better = meaning(panel.name).better
    for curve in panel.curves:
        if better and curve.split == "validation" and len(curve.finite) > 1:
            sign = 1 if better == "lower" else -1
            step, value = min(curve.finite, key=lambda point: sign * point[1])
            return [f"best {short(value)} at step {step:,.0f}"]
    return []


def _wide(values: list[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) >= _LOG_FROM * min(values)


def _limits(runs: list[list[tuple[float, float]]]) -> tuple[float, float] | None:
    """Limits that leave out the first values of each run, if they would squeeze all others
    together."""
    later = [value for points in runs for value in _later(points)]
    values = [value for points in runs for _, value in points]
    if not later or len(later) == len(values):
        return None
    low, high = min(later), max(later)
    if low == high or max(values) - min(values) < 2 * (high - low):
        return None
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _later(points: list[tuple[float, float]]) -> list[float]:
    """The values after the beginning; all, where they are too few to tell it."""
    steps = [step for step, _ in points]
    settled = min(steps) + _BEGINNING * (max(steps) - min(steps)) if len(points) >= 8 else 0
    return [value for step, value in points if step >= settled]


def _figure(panel: Panel, view: View, number: int, last_step: float) -> Html:
    legend = [
        element("span", curve.split.replace("train", "training"), class_=f"key {curve.split}")
        for curve in panel.curves
        if len(panel.curves) > 1 or curve.split != "train"
    ]
    drawn = chart(
        panel.curves,
        name=f"curve-{number}",
        last_step=last_step,
        label=f"{meaning(panel.name).title} over the steps",
        log=view.log,
        limits=view.limits,
        line=view.line,
    )
    notes = element("p", element("small", " · ".join(view.notes)))
    caption = element("figcaption", title(panel.name, view.log), *legend)
    return element("figure", caption, drawn, notes, class_="chart")


def title(name: str, log: bool) -> Html:
    """What a chart shows, and in which unit."""
    known = meaning(name)
    unit = ", ".join(filter(None, [known.unit, "log scale" if log else ""]))
    return element("p", element("strong", known.title), " ", element("small", unit or None))


def elapsed(run: Run) -> list[tuple[float, float]]:
    """Steps, and about how many seconds had gone into them and those before, from the speed in each
    row; empty where none is known."""
    batch_size, seconds = run.number("batch_size"), 0.0
    found: list[tuple[float, float]] = []
    for row in run.rows:
        speed = row.get("images_per_second", math.nan)
        if batch_size and math.isfinite(speed) and speed > 0:
            seconds += (row["step"] - (found[-1][0] if found else 0.0)) * batch_size / speed
            found.append((row["step"], seconds))
    return found


def training_seconds(run: Run) -> float | None:
    """About how long the steps took; None where no speed is known."""
    return elapsed(run)[-1][1] if elapsed(run) else None
