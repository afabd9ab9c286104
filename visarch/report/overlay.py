"""The curves of several runs in the same charts."""

from collections.abc import Sequence

import numpy as np

from visarch.report.chart import Curve, chart
from visarch.report.curves import Panel, elapsed, panels, scale, title
from visarch.report.group import Entry
from visarch.report.markup import Html, element
from visarch.report.meaning import HEADLINE, METRICS, meaning

Layers = list[tuple[Entry, list[Curve]]]
"""Runs, with their curves of one quantity."""
_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_MOST_SECONDS = 3
"""So many of the next larger unit are given in that one."""


def overlaid_figures(entries: Sequence[Entry]) -> list[Html]:
    """A chart for every quantity that some run wrote down at least twice, and one more of what the
    task is judged by, over the time that went into training."""
    task = entries[0].run.task
    found = [(entry, {panel.name: panel for panel in panels(entry.run)}) for entry in entries]
    names = list(dict.fromkeys(name for _, by_name in found for name in by_name))
    order = [HEADLINE.get(task, ""), *METRICS, *names]
    across, widths = _axis(entries)
    figures = []
    for number, name in enumerate(sorted(names, key=order.index)):
        layers = [
            (entry, _in_color(entry, by_name[name])) for entry, by_name in found if name in by_name
        ]
        wide = [(entry, _stretched(curves, widths[entry.name])) for entry, curves in layers]
        figures.append(_figure(name, wide, f"{task}-{number}", across))
        timed, unit = _over_time(layers)
        if name == order[0] and timed:
            figures.append(_figure(name, timed, f"{task}-time", f"{unit} of training"))
    return figures


def legend(entries: Sequence[Entry]) -> Html:
    """Which color is which run."""
    return element("p", *map(key, entries), class_="legend")


def key(entry: Entry) -> Html:
    """A run's name beside its color."""
    return element("span", entry.name, class_=f"key {entry.color} {entry.dashes}")


def _axis(entries: Sequence[Entry]) -> tuple[str, dict[str, float]]:
    """What curves are drawn over, and how much of it a step of each run is: steps compare only
    where as many images go into each."""
    sizes = {entry.name: entry.run.number("batch_size") or 0.0 for entry in entries}
    if len({*sizes.values()}) == 1 or not all(sizes.values()):
        return "step", dict.fromkeys(sizes, 1.0)
    return "training images seen", sizes


def _in_color(entry: Entry, panel: Panel) -> list[Curve]:
    """A panel's curves in the color of their run, those of training behind those of validation."""
    both = len(panel.curves) > 1
    return [
        curve._replace(color=entry.color, dashes=entry.dashes, pale=both and curve.split == "train")
        for curve in panel.curves
    ]


def _stretched(curves: Sequence[Curve], width: float) -> list[Curve]:
    return [curve._replace(points=[(width * x, y) for x, y in curve.points]) for curve in curves]


def _over_time(layers: Layers) -> tuple[Layers, str]:
    """Validation over the time that had gone into training, and the unit of that; without the runs
    of which it is not known."""
    timed: Layers = []
    longest = 0.0
    for entry, curves in layers:
        steps, seconds = np.array([(0.0, 0.0), *elapsed(entry.run)]).T
        held_out = [curve for curve in curves if curve.split == "validation"]
        if len(steps) == 1 or not held_out:
            continue
        longest = max(longest, seconds[-1])
        points = [(float(np.interp(x, steps, seconds)), y) for x, y in held_out[0].points]
        timed.append((entry, [held_out[0]._replace(points=points)]))
    unit, length = next(
        (unit, length)
        for unit, length in _UNITS
        if longest >= _MOST_SECONDS * length or length == 1
    )
    return [(entry, _stretched(curves, 1 / length)) for entry, curves in timed], unit


def _figure(name: str, layers: Layers, anchor: str, across: str) -> Html:
    curves = [curve for _, of_run in layers for curve in of_run]
    log, limits = scale(name, [[p for c in of_run for p in c.finite] for _, of_run in layers])
    drawn = chart(
        sorted(curves, key=lambda curve: not curve.pale),
        name=f"overlay-{anchor}",
        last_step=max(x for curve in curves for x, _ in curve.points),
        label=f"{meaning(name).title} of {len(layers)} runs over {across}",
        log=log,
        limits=limits,
        across=across,
    )
    notes = []
    if any(curve.pale for curve in curves):
        notes.append("validation; pale: training")
    elif all(curve.split == "train" for curve in curves):
        notes.append("training")
    else:
        notes.append("validation")
    if limits:
        notes.append("first values off the chart")
    num_bad = sum(len(curve.points) - len(curve.finite) for curve in curves)
    if num_bad:
        notes.append(f"× {num_bad} not finite")
    caption = element("figcaption", title(name, log))
    return element(
        "figure", caption, drawn, element("p", element("small", " · ".join(notes))), class_="chart"
    )
