"""The stages of the ResNet, from the image to its vector."""

from __future__ import annotations

from visarch.describe.canvas import Canvas
from visarch.describe.description import Description, times
from visarch.describe.stages import arrows, stage
from visarch.describe.tiles import MARGIN, image_step, tile_height, totals

_GAP = 22.0
_HEADER = 64.0


def draw_resnet(description: Description) -> str:
    """A ResNet as the text of an SVG file."""
    steps = [image_step(description), *description.steps]
    sizes = [step.shape[1:] for step in steps if len(step.shape) > 1]
    tallest = tile_height(sizes[0], sizes[-1])
    axis = MARGIN + _HEADER + 16 + tallest / 2

    stages, left = [], MARGIN
    for step in steps:
        if len(step.shape) > 1:
            placed = stage(step, tile_height(step.shape[1:], sizes[-1]), most=220)
        else:
            placed = stage(step, tallest, width=14)
        stages.append(placed.placed(left, axis))
        left = stages[-1].right + _GAP

    captions = axis + tallest / 2 + 16
    canvas = Canvas(
        left - _GAP + MARGIN,
        captions + max(placed.caption_height for placed in stages) + MARGIN,
        f"{description.network} on {times(description.input_shape)}",
    )
    canvas.text(MARGIN, MARGIN + 16, description.network, size=20, anchor="start", strong=True)
    canvas.text(MARGIN, MARGIN + 40, totals(description), size=15, anchor="start")
    arrows(canvas, stages)
    for placed in stages:
        placed.draw(canvas, captions)
    return canvas.to_svg()
