"""A chart as inline SVG, drawn by matplotlib and colored by the page it stands in."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

from visarch.report.markup import Html
from visarch.report.spelling import short

# Stand-ins that the page's own colors replace, so that a chart follows it into the dark.
RUN_COLORS = tuple(f"run-{number}" for number in range(1, 9))
"""Colors of the page that tell runs apart."""
_NAMES = ("muted", "line", "alarm", "train", "validation", *RUN_COLORS)
_COLORS = {name: "#" + 3 * f"{number:02x}" for number, name in enumerate(_NAMES, 1)}
_INK, _GRID, _ALARM = (_COLORS[name] for name in ("muted", "line", "alarm"))
_ROUND = [1, 2, 2.5, 5, 10]
_FEW_DECADES = 500.0
_MOST_POINTS = 300


Dashes = Literal["solid", "dashed", "dotted"]


class Curve(NamedTuple):
    """Values over the steps; those that are not finite are gaps."""

    split: str
    """"train" or "validation"."""
    points: Sequence[tuple[float, float]]
    color: str | None = None
    """The name of one of the page's colors; the split by default."""
    dashes: Dashes = "solid"
    pale: bool = False
    """Whether it stays behind the others."""

    @property
    def finite(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(step, value) for step, value in self.points if math.isfinite(value)]


def chart(
    curves: Sequence[Curve],
    *,
    name: str,
    label: str,
    last_step: float,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    line: float | None = None,
    across: str = "step",
) -> Html:
    """Curves over the steps as an `<svg>` element.

    Steps at which a value was not finite are crosses on the axis.

    Args:
        curves: what to draw.
        name: tells the ids of this chart from those of others on the page.
        label: what it shows, for those who cannot see it.
        last_step: where the axis ends; it begins at 0.
        log: a logarithmic scale; all finite values must be positive.
        limits: the values at the bottom and the top; those of the curves by default.
        line: a value to mark by a dashed line.
        across: what a curve is drawn over, if these are not steps.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator

    # text stays text, in the page's font; ids depend on nothing but the chart
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.5}):
        figure = Figure(figsize=(4.5, 2.4), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            _draw(axes, curve)
        if line is not None:
            axes.axhline(line, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        if log:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            finely = high < _FEW_DECADES * low
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if finely else (1,), numticks=6))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
        if limits:
            axes.set_ylim(*limits)
        whole = across == "step"
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole, steps=_ROUND))
        axes.set_xlim(0, last_step * 1.02)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: short(value))
        axes.minorticks_off()

        axes.set_xlabel(across, color=_INK)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_GRID)
        axes.tick_params(color=_GRID, labelcolor=_INK, length=0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), label)


def _draw(axes: Any, curve: Curve) -> None:
    """One curve; where it has more points than can be told apart, means between extremes."""
    color = _COLORS[curve.color or curve.split]
    pieces = _pieces(curve.points)
    steps = [sum(step for step, _ in piece) / len(piece) for piece in pieces]
    finite = [[value for _, value in piece if math.isfinite(value)] for piece in pieces]
    means = [sum(values) / len(values) if values else math.nan for values in finite]
    if len(pieces) < len(curve.points) and not curve.pale:
        lows = [min(values, default=math.nan) for values in finite]
        highs = [max(values, default=math.nan) for values in finite]
        axes.fill_between(steps, lows, highs, color=color, alpha=0.2, linewidth=0)
    axes.plot(
        steps, means, color=color, linestyle=curve.dashes, ms=3,
        linewidth=1.0 if curve.pale else 1.6, alpha=0.45 if curve.pale else None,
        marker="o" if len(pieces) <= 12 else None, zorder=1.9 if curve.pale else 2,
    )  # fmt: skip
    bad = [
        step
        for step, piece in zip(steps, pieces, strict=True)
        if not all(math.isfinite(value) for _, value in piece)
    ]
    if bad:
        at_the_axis = axes.get_xaxis_transform()
        axes.plot(
            bad, [0] * len(bad), "x", color=_ALARM, ms=5, clip_on=False, transform=at_the_axis
        )


def _pieces(points: Sequence[tuple[float, float]]) -> list[Sequence[tuple[float, float]]]:
    """The points one by one, or in equal pieces where there are too many."""
    size = -(-len(points) // _MOST_POINTS)
    return [points[start : start + size] for start in range(0, len(points), size)]


def _inline(svg: str, label: str) -> Html:
    """What matplotlib wrote, fit to stand in a page: no ids that two charts share, no fonts, no
    style that reaches beyond it, and the page's colors."""
    root = ElementTree.fromstring(svg)
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = _local(node.tag)
        node.text = node.text if node.tag == "text" else None
        node.tail = None
        attributes = {_local(name): value for name, value in node.attrib.items()}
        if attributes.get("id") not in referred:
            attributes.pop("id", None)
        if "style" in attributes:
            attributes["style"] = re.sub(r"font-family: [^;]*;? ?", "", attributes["style"])
        if "d" in attributes:
            attributes["d"] = " ".join(attributes["d"].split())
        node.attrib.clear()
        node.attrib.update(attributes)
    view_box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": view_box, "role": "img", "aria-label": label})
    text = ElementTree.tostring(root, encoding="unicode")
    names = {color: f"var(--{name})" for name, color in _COLORS.items()}
    return Html(re.sub("|".join(names), lambda match: names[match[0]], text))


def _local(name: str) -> str:
    """A name without its namespace: HTML knows SVG's by itself."""
    return name.rpartition("}")[2]
