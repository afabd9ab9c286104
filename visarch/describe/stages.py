"""Stages in a row: each a step as one tile or as its many blocks, with a caption underneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from visarch.describe.canvas import Canvas
from visarch.describe.description import Step, quantity, times
from visarch.describe.tiles import Tile, kind, tile_width

_SEAM = 3.0  # between the blocks of a stage
_LETTER = 7.0  # width of a letter in a caption


@dataclass(frozen=True)
class Stage:
    """A step, its tiles around an axis, and the width that tiles and caption take."""

    step: Step
    tiles: tuple[Tile, ...]
    left: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def center(self) -> float:
        return self.left + self.width / 2

    @property
    def height(self) -> float:
        return self.tiles[0].height

    @property
    def caption_height(self) -> float:
        """From the caption's top to the bottom of its last line."""
        return 26.0 + 17 * len(caption(self.step))

    def placed(self, left: float, axis: float) -> Stage:
        """The same with its left edge and its axis here."""
        first = self.tiles[0]
        right, down = left - self.left, axis - first.middle
        tiles = [replace(t, left=t.left + right, top=t.top + down) for t in self.tiles]
        return replace(self, tiles=tuple(tiles), left=left)

    def draw(self, canvas: Canvas, caption_top: float) -> None:
        """The tiles, a shortcut over each residual block, and the caption below this height."""
        for tile in self.tiles:
            canvas.tile(tile)
            if kind(self.step) == "block" and tile.width >= 8:
                canvas.arc(tile.left + 2, tile.right - 2, tile.top - 2, 7)
        canvas.name(self.center, caption_top + 17, self.step.name, size=19)
        for number, line in enumerate(caption(self.step)):
            canvas.text(self.center, caption_top + 38 + 17 * number, line)


def stage(step: Step, height: float, *, width: float | None = None, most: float = 1e9) -> Stage:
    """A stage at the origin, whose tiles are this high.

    Args:
        step: what is drawn, one tile for each of its blocks.
        height: of the tiles.
        width: of one tile, if its channels shall not decide.
        most: what all tiles together may take, however many there are.
    """
    count = step.repeats
    width = tile_width(step.shape[0]) if width is None else width
    pitch = min(width + _SEAM, most / count)
    seam = min(_SEAM, pitch / 4)
    width = pitch - seam
    inner = count * width + (count - 1) * seam
    outer = max(inner, *(_LETTER * len(line) for line in caption(step)))
    start = (outer - inner) / 2
    tiles = [Tile(step, start + i * (width + seam), 0, width, height) for i in range(count)]
    return Stage(step, tuple(tiles), 0, outer)


def caption(step: Step) -> list[str]:
    """Shape, operation and parameters of a step, in short lines."""
    lines = [times(step.shape)]
    words = step.operation.replace(" S=", "\nS=").replace(" → ", "\n").split("\n")
    for word in filter(None, words):
        if lines[1:] and len(lines[-1]) + len(word) < 14:
            lines[-1] += f" {word}" if word.startswith("S=") else f", {word}"
        else:
            lines.append(word)
    if step.parameters:
        lines.append(f"{quantity(step.parameters).strip()} param{'s' * (step.parameters > 1)}")
    return lines


def arrows(canvas: Canvas, stages: Sequence[Stage]) -> None:
    """From the last tile of each stage to the first of the next."""
    for before, after in pairwise(stages):
        start, end = before.tiles[-1], after.tiles[0]
        canvas.line([(start.right + 2, start.middle), (end.left - 2, end.middle)])
