"""The U of the U-Net: Descend on the left, Ascend on the right, one row for each resolution."""

from __future__ import annotations

from itertools import pairwise

from visarch.describe.canvas import Canvas
from visarch.describe.description import Description, times
from visarch.describe.tiles import MARGIN, Tile, image_step, kind, tile_height, tile_width, totals

_GAP = 10.0  # between columns
_LANE = 9.0  # between horizontal connections
_LEGEND_WIDTH, _LEGEND_HEIGHT = 500.0, 104.0


def draw_unet(description: Description) -> str:
    """The U-Net as the text of an SVG file."""
    tiles = _tiles(description, MARGIN)
    left, right = _mouth(tiles)
    fits = right - left > _LEGEND_WIDTH and tiles["x"].height + 10 > _LEGEND_HEIGHT
    if fits:
        legend = (left + right - _LEGEND_WIDTH) / 2, tiles["x"].top + 10
    else:
        tiles, legend = _tiles(description, MARGIN + _LEGEND_HEIGHT + 10), (MARGIN, MARGIN)

    width = max(tile.right for tile in tiles.values()) + MARGIN
    canvas = Canvas(
        width if fits else max(width, _LEGEND_WIDTH + 2 * MARGIN),
        max(tile.bottom for tile in tiles.values()) + 22 + MARGIN,
        f"{description.network} on {times(description.input_shape)}",
    )
    _legend(canvas, *legend, description)
    _sequence(canvas, list(tiles.values()))
    _horizontal_connections(canvas, tiles)
    for name, tile in tiles.items():
        canvas.tile(tile)
        canvas.name(tile.center, tile.middle - 2, name)
        canvas.text(tile.center, tile.middle + 15, str(tile.step.shape[0]))
    firsts = {tile.top: tile for name, tile in reversed(tiles.items()) if name[0] == "z"}
    for tile in firsts.values():
        sides = times(tile.step.shape[1:])
        canvas.text(tile.left, tile.bottom + 17, sides, anchor="start", size=14)
    return canvas.to_svg()


def _tiles(description: Description, top: float) -> dict[str, Tile]:
    """The image and the steps, in their order and in their places.

    Each stands right of the one before, in the row of its resolution; where the resolution changes,
    straight below or above it.
    """
    steps = [image_step(description), *(step for step in description.steps if step.name != "u")]
    descent = [step for step in steps if step.name[0] == "z"]
    sizes = list(dict.fromkeys(step.shape[1:] for step in descent))
    row = {step.name: sizes.index(step.shape[1:]) for step in steps if step.name not in "xy"}
    row |= {"x": 0, "y": 0}  # their sides may be odd

    columns = [[steps[0]]]
    for before, step in pairwise(steps):
        if row[step.name] == row[before.name]:
            columns.append([])
        columns[-1].append(step)

    lanes = _LANE * (len(descent) // len(sizes))
    heights = [tile_height(size, sizes[-1]) for size in sizes]
    tops = [top + lanes + 4]
    for height in heights:
        tops.append(tops[-1] + height + 28 + lanes)

    tiles, left = {}, MARGIN
    for column in columns:
        widest = max(tile_width(step.shape[0]) for step in column)
        for step in column:
            width = tile_width(step.shape[0])
            place = left + (widest - width) / 2, tops[row[step.name]]
            tiles[step.name] = Tile(step, *place, width, heights[row[step.name]])
        left += widest + _GAP
    return {step.name: tiles[step.name] for step in steps}


def _mouth(tiles: dict[str, Tile]) -> tuple[float, float]:
    """From where to where the U is open."""
    first_row = [tile for tile in tiles.values() if tile.top == tiles["x"].top]
    left = max(tile.right for tile in first_row if tile.step.name[0] in "xz")
    return left, min(tile.left for tile in first_row if tile.step.name[0] == "y")


def _sequence(canvas: Canvas, tiles: list[Tile]) -> None:
    """An arrow from each tile to the next."""
    for tile, following in pairwise(tiles):
        if tile.top == following.top:
            canvas.line([(tile.right + 1, tile.middle), (following.left - 1, tile.middle)])
        elif tile.top < following.top:
            x = following.center - following.width / 4
            canvas.line([(x, tile.bottom + 1), (x, following.top - 1)])
        else:
            x = tile.center + tile.width / 4
            canvas.line([(x, tile.top - 1), (x, following.bottom + 1)])


def _horizontal_connections(canvas: Canvas, tiles: dict[str, Tile]) -> None:
    """From each z to the y that it is concatenated with, nested over their row."""
    for end in tiles.values():
        for source in end.step.inputs[1:]:
            if source not in tiles:
                continue
            start = tiles[source]
            row = [name for name, t in tiles.items() if name[0] == "z" and t.top == start.top]
            y = start.top - 4 - _LANE * (len(row) - row.index(source))
            left, right = start.center + start.width / 4, end.center - end.width / 4
            points = [(left, start.top), (left, y), (right, y), (right, end.top - 1)]
            canvas.line(points, dashed=True)


def _legend(canvas: Canvas, left: float, top: float, description: Description) -> None:
    steps = description.steps
    canvas.text(left, top + 18, description.network, size=20, anchor="start", strong=True)
    canvas.text(left, top + 42, totals(description), size=15, anchor="start")
    meanings = {"Conv": "Conv", "block": "ResBlockU", "Attn": "ResBlockU → Attn"}
    meanings["TransConv"] = "TransConv"
    x = left
    for color, meaning in meanings.items():
        if color in map(kind, steps):
            x = canvas.swatch(x, top + 69, color, meaning)
    canvas.line([(left, top + 90), (left + 34, top + 90)], dashed=True)
    canvas.text(left + 42, top + 95, "concatenation ⊕", size=14, anchor="start")
    context = next((f" = u({', '.join(s.inputs)})" for s in steps if s.name == "u"), "")
    canvas.name(left + 198, top + 95, "u")
    told = f"{context} enters every ResBlockU"
    canvas.text(left + 206, top + 95, told.strip(), size=14, anchor="start")
