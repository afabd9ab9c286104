"""A sheet of paper for the drawings: tiles, arrows and names, written as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree

from visarch.describe.description import times
from visarch.describe.tiles import COLORS, Tile, kind

_INK, _FAINT, _LINE = "#1e293b", "#5b6779", "#8492a6"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


class Canvas:
    """What is drawn, on a white sheet, so that it reads on light and on dark pages.

    Coordinates are pixels, x to the right and y down. Text stands on its baseline.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        size = {"width": width, "height": height}
        self._root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {_number(width)} {_number(height)}",
                **{name: _number(value) for name, value in size.items()},
                "role": "img",
                "font-family": _FONTS,
            },
        )
        self._add("title", {}).text = title
        head = {"id": "arrow", "viewBox": "0 0 8 8", "refX": 7, "refY": 4, "orient": "auto"}
        head |= {"markerWidth": 7, "markerHeight": 7, "markerUnits": "userSpaceOnUse"}
        marker = self._add("marker", head, self._add("defs", {}))
        self._add("path", {"d": "M0 0 L8 4 L0 8 z", "fill": _LINE}, marker)
        sheet = {"x": 0.5, "y": 0.5, "width": width - 1, "height": height - 1, "rx": 14}
        self._add("rect", {**sheet, "fill": "#ffffff", "stroke": "#e2e8f0"})

    def tile(self, tile: Tile) -> None:
        """The rectangle, marked with its step's name; what the step does shows on hovering."""
        step = tile.step
        rect = self._box(tile.left, tile.top, tile.width, tile.height, kind(step))
        rect.set("data-step", step.name)
        told = f"{step.symbol}: {step.operation}, " if step.boxes else f"{step.symbol}: "
        self._add(
            "title", {}, rect
        ).text = f"{told}{times(step.shape)}, {step.parameters:,} parameters"

    def swatch(self, left: float, baseline: float, color: str, meaning: str) -> float:
        """One line of a legend; returns where the next could start."""
        self._box(left, baseline - 12, 15, 15, color)
        self.text(left + 22, baseline, meaning, anchor="start")
        return left + 22 + 7.4 * len(meaning) + 24

    def panel(self, left: float, top: float, width: float, height: float) -> None:
        """A shade behind what belongs together."""
        box = {"x": left, "y": top, "width": width, "height": height}
        self._add("rect", {**box, "rx": 10, "fill": "#f3f5f8"})

    def line(self, points: Sequence[tuple[float, float]], *, dashed: bool = False) -> None:
        """An arrow through these points, its corners rounded."""
        dashes = {"stroke-dasharray": "4 3"} if dashed else {}
        self._stroke(_rounded(points), {**dashes, "marker-end": "url(#arrow)"})

    def arc(self, left: float, right: float, y: float, height: float) -> None:
        """A shortcut over a block, from the one x to the other."""
        peak = ((left + right) / 2, y - 2 * height)
        self._stroke(f"M{_pair((left, y))} Q{_pair(peak)} {_pair((right, y))}", {})

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        anchor: Literal["start", "middle", "end"] = "middle",
        strong: bool = False,
    ) -> None:
        """A line of text."""
        element = self._text(x, y, size, anchor, _INK if strong else _FAINT)
        element.text = text
        if strong:
            element.set("font-weight", "600")

    def name(self, x: float, y: float, name: str, *, size: float = 17) -> None:
        """The name of a step in the note's letters: y10_bar is ȳ with the index 10."""
        letter, index = name.rpartition(".")[2], ""
        if letter.startswith("f_"):
            letter, index = "f", letter[2:]
        elif letter.removesuffix("_bar")[1:].isdigit():
            index = letter.removesuffix("_bar")[1:]
            letter = "ȳ" if letter.endswith("_bar") else letter[0]
        element = self._text(x, y, size, "middle", _INK)
        self._add("tspan", {"font-style": "italic"}, element).text = letter
        if index:
            lowered = {"dy": 0.22 * size, "font-size": 0.72 * size}
            self._add("tspan", lowered, element).text = index

    def to_svg(self) -> str:
        """The drawing as the text of an SVG file, one element a line."""
        self._root.text = "\n"
        for element in self._root:
            element.tail = "\n"
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def _box(
        self, left: float, top: float, width: float, height: float, color: str
    ) -> ElementTree.Element:
        fill, edge = COLORS[color]
        place = {"x": left, "y": top, "width": width, "height": height, "rx": min(4, width / 3)}
        return self._add("rect", {**place, "fill": fill, "stroke": edge})

    def _text(
        self, x: float, y: float, size: float, anchor: str, color: str
    ) -> ElementTree.Element:
        style = {"font-size": size, "text-anchor": anchor, "fill": color}
        return self._add("text", {"x": x, "y": y, **style})

    def _stroke(self, path: str, style: Mapping[str, str]) -> None:
        plain = {"d": path, "fill": "none", "stroke": _LINE, "stroke-width": 1.4}
        self._add("path", {**plain, **style})

    def _add(
        self,
        tag: str,
        attributes: Mapping[str, object],
        parent: ElementTree.Element | None = None,
    ) -> ElementTree.Element:
        written = {
            name: _number(value) if isinstance(value, int | float) else str(value)
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self._root if parent is None else parent, tag, written)


def _rounded(points: Sequence[tuple[float, float]], radius: float = 6) -> str:
    """The path through these points whose corners are cut short and bent."""
    path = f"M{_pair(points[0])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path += f" L{_pair(_towards(corner, before, radius))}"
        path += f" Q{_pair(corner)} {_pair(_towards(corner, after, radius))}"
    return f"{path} L{_pair(points[-1])}"


def _towards(
    start: tuple[float, float], end: tuple[float, float], distance: float
) -> tuple[float, float]:
    length = math.dist(start, end)
    share = min(distance, length / 2) / length if length else 0
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _pair(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
