"""Tiles: a step, or one of a step's blocks, as a rectangle with a size, a color and a place.

The more channels the wider, the more pixels the higher, both by the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from visarch.describe.description import Description, Step, quantity

MARGIN = 22.0
"""Blank on every side of a drawing."""

COLORS = {
    "image": ("#f8fafc", "#94a3b8"),
    "Conv": ("#d7dee8", "#64748b"),
    "block": ("#cfe0fc", "#3b74d9"),
    "Attn": ("#e2d6fb", "#7a48d1"),
    "TransConv": ("#fbe3b5", "#c47d0e"),
    "linear": ("#cdeed8", "#2c9a57"),
}
"""Fill and edge of a tile, by what it mostly does."""


@dataclass(frozen=True)
class Tile:
    """A rectangle that stands for a step, or for one of a step's blocks."""

    step: Step
    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def center(self) -> float:
        """Half-way from left to right."""
        return self.left + self.width / 2

    @property
    def middle(self) -> float:
        """Half-way from top to bottom."""
        return self.top + self.height / 2


def kind(step: Step) -> str:
    """What a step mostly does: a key of ``COLORS``."""
    words = " ".join(step.boxes)
    for mark, color in (("Attn", "Attn"), ("Block", "block"), ("TransConv", "TransConv")):
        if mark in words:
            return color
    return "Conv" if "Conv" in words else "linear" if words else "image"


def tile_width(channels: int) -> float:
    """28 for 64 channels, and 4 for each doubling."""
    return min(max(28 + 4 * math.log2(channels / 64), 22), 60)


def tile_height(sizes: Sequence[int], smallest: Sequence[int]) -> float:
    """40 for the smallest size in the drawing, and 27 for each doubling of the sides."""
    doublings = math.log2(math.prod(sizes) / math.prod(smallest)) / len(sizes)
    return 40 + 27 * doublings


def image_step(description: Description) -> Step:
    """The image x, to be drawn like a step."""
    return Step("x", (), (), description.input_shape, parameters=0, macs=0, receptive_field=1)


def totals(description: Description) -> str:
    """The line under the title."""
    return f"{description.parameters:,} parameters · {quantity(description.macs)}MAC per image"
