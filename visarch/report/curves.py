"""The curves of a run: what metrics.csv holds, one small chart for each quantity."""

import math
from typing import NamedTuple

from visarch.objectives.elbo import bits_per_dim
from visarch.report.chart import Curve, chart
from visarch.report.markup import Html, element
from visarch.report.meaning import HIGHER_IS_BETTER, LOWER_IS_BETTER, METRICS, meaning
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
                columns.setdefault(name, {}).setdefault(split, []).append((row["step"], value))
    order = [*METRICS, *columns]
    return [
        Panel(name, [Curve(split, points) for split, points in sorted(splits.items())])
        for name, splits in sorted(columns.items(), key=lambda item: order.index(item[0]))
        if any(len(points) > 1 for points in splits.values())
    ]


def view(panel: Panel, run: Run) -> View:
    """Scale, limits and notes that show most of a panel's values."""
    points = [point for curve in panel.curves for point in curve.finite]
    values = [value for _, value in points]
    notes = []
    if panel.name in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        notes += _best(panel)
    num_bad = sum(len(curve.points) for curve in panel.curves) - len(points)
    if num_bad:
        notes.append(f"× {num_bad} not finite")
    clip = run.config.get("clip")
    line = float(clip) if clip and panel.name == "gradient_norm" else None
    if line:
        notes.append(f"dashed: clipped to {short(line)}")
    if panel.name in _LOGARITHMIC and _wide(values):
        return View(True, None, line, notes)
    limits = _limits(points)
    if limits:
        first = points[0][1]
        notes.append(f"starts at {short(first)}, off the chart")
    return View(False, limits, line, notes)


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
    for curve in panel.curves:
        if curve.split == "validation" and len(curve.finite) > 1:
            sign = 1 if panel.name in LOWER_IS_BETTER else -1
            step, value = min(curve.finite, key=lambda point: sign * point[1])
            return [f"best {short(value)} at step {step:,.0f}"]
    return []


def _wide(values: list[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) >= _LOG_FROM * min(values)


def _limits(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Limits that leave out the first values, if they would squeeze all others together."""
    if len(points) < 8:
        return None
    steps = [step for step, _ in points]
    settled = min(steps) + _BEGINNING * (max(steps) - min(steps))
    later = [value for step, value in points if step >= settled]
    low, high = min(later), max(later)
    spread = max(value for _, value in points) - min(value for _, value in points)
    if low == high or spread < 2 * (high - low):
        return None
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _figure(panel: Panel, view: View, number: int, last_step: float) -> Html:
    known = meaning(panel.name)
    legend = [
        element("span", curve.split.replace("train", "training"), class_=f"key {curve.split}")
        for curve in panel.curves
        if len(panel.curves) > 1 or curve.split != "train"
    ]
    drawn = chart(
        panel.curves,
        name=f"curve-{number}",
        last_step=last_step,
        label=f"{known.title} over the steps",
        log=view.log,
        limits=view.limits,
        line=view.line,
    )
    unit = ", ".join(filter(None, [known.unit, "log scale" if view.log else ""]))
    title = element("p", element("strong", known.title), " ", element("small", unit or None))
    notes = element("p", element("small", " · ".join(view.notes)))
    return element("figure", element("figcaption", title, *legend), drawn, notes, class_="chart")


def training_seconds(run: Run) -> float | None:
    """About how long the steps took, from the speed in each row; None where none is known."""
    batch_size, before, seconds = run.config.get("batch_size"), 0.0, 0.0
    for row in run.rows:
        speed = row.get("images_per_second", math.nan)
        if batch_size and math.isfinite(speed) and speed > 0:
            seconds += (row["step"] - before) * batch_size / speed
            before = row["step"]
    return seconds or None
