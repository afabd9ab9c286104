"""The VAE from image to image: encoder, latent vector, decoder."""

from __future__ import annotations

from visarch.describe.canvas import Canvas
from visarch.describe.description import Description, Step, times
from visarch.describe.stages import Stage, stage
from visarch.describe.tiles import MARGIN, image_step, tile_height, totals

_GAP = 22.0  # between columns
_PADDING = 14.0  # of a panel, on either side
_HEADER = 62.0
_COLUMNS = (
    ("x",),
    ("encoder.f_in",),
    ("encoder.h",),
    ("encoder.f_mean", "encoder.f_var"),
    ("z",),
    ("decoder.f_in",),
    ("decoder.h",),
    ("decoder.f_mean", "decoder.f_var"),
)
_BORDERS = {"x": 1, "encoder.f_mean": 2, "z": 1}  # how much of a panel's padding comes after


def draw_vae(description: Description) -> str:
    """A Gaussian VAE as the text of an SVG file."""
    steps = {step.name: step for step in [image_step(description), *description.steps]}
    stages = {name: _stage(step, steps["encoder.h"]) for name, step in steps.items()}

    # Downwards: f_mean is as far above the axis as f_var is below it, its caption in between.
    means = [stages["encoder.f_mean"], stages["decoder.f_mean"]]
    scales = [stages["encoder.f_var"], stages["decoder.f_var"]]
    apart = max(s.height / 2 + s.caption_height for s in means) + max(s.height / 2 for s in scales)
    apart += 16
    top = MARGIN + _HEADER
    axis = top + 36 + max(s.height / 2 for s in means) + apart / 2
    bottom = axis + apart / 2 + max(s.height / 2 + s.caption_height for s in scales) + 14

    left = MARGIN
    for column in _COLUMNS:
        width = max(stages[name].width for name in column)
        for name in column:
            side = {"f_mean": -1, "f_var": 1}.get(name.rpartition(".")[2], 0)
            inset = (width - stages[name].width) / 2
            stages[name] = stages[name].placed(left + inset, axis + side * apart / 2)
        left += width + _GAP + _BORDERS.get(column[0], 0) * _PADDING

    size = f"{description.network} on {times(description.input_shape)}"
    canvas = Canvas(left - _GAP + _PADDING + MARGIN, bottom + MARGIN, size)
    canvas.text(MARGIN, MARGIN + 16, description.network, size=20, anchor="start", strong=True)
    canvas.text(MARGIN, MARGIN + 40, totals(description), size=15, anchor="start")
    for part in ("encoder", "decoder"):
        inside = [s for name, s in stages.items() if name.startswith(part)]
        start, end = min(s.left for s in inside), max(s.right for s in inside)
        canvas.panel(start - _PADDING, top, end - start + 2 * _PADDING, bottom - top)
        canvas.text(start, top + 24, part, size=15, anchor="start", strong=True)
    _connections(canvas, stages)
    below = axis + max(stages[name].height for name in ("x", "encoder.h", "z")) / 2 + 8
    for placed in stages.values():
        on_axis = placed.tiles[0].middle == axis
        placed.draw(canvas, below if on_axis else placed.tiles[0].bottom + 4)
    return canvas.to_svg()


def _stage(step: Step, grid: Step) -> Stage:
    if len(step.shape) == len(grid.shape):
        height = tile_height(step.shape[1:], grid.shape[1:]) + 20
        return stage(step, height, most=170)
    if len(step.shape) == 2:  # Σ^½
        return stage(step, 44, width=44)
    return stage(step, 60, width=14) if step.shape[0] > 1 else stage(step, 14, width=14)


def _connections(canvas: Canvas, stages: dict[str, Stage]) -> None:
    """Lines from the inputs of each step to it, and from ε to z."""
    column_of = {name: column for column in _COLUMNS for name in column}
    for name, end in stages.items():
        for source in end.step.inputs:
            start, goal = stages[source].tiles[-1], end.tiles[0]
            right = max(stages[other].right for other in column_of[source])
            left = min(stages[other].left for other in column_of[name])
            first, last = (start.right + 2, start.middle), (goal.left - 2, goal.middle)
            turn = (right + left) / 2
            bend = [(turn, start.middle), (turn, goal.middle)]
            canvas.line([first, *(bend if start.middle != goal.middle else []), last])
    z = stages["z"].tiles[0]
    canvas.line([(z.center, z.top - 26), (z.center, z.top - 2)])
    canvas.name(z.center, z.top - 33, "ε", size=19)
