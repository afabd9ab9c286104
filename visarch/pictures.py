"""Images, signals and volumes as pictures to look at.

All samples are (C, *spatial) in [0, 1]; what lies outside is cut off. An image is shown as it is,
in whole multiples of its size if it is small; a signal as a curve for each channel, a volume by its
middle slice. One channel is gray, three are red, green and blue; of any other number the first is
shown.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from visarch.data.values import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BACKGROUND = (255, 255, 255)
_GAP, _WIDE_GAP = 2, 8
_SMALLEST_TILE = 56

_PAPER = (245, 245, 245)
_LINES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))
_CURVES_SIZE, _MARGIN = (128, 64), 3
_FINER = 4
"""Curves are drawn so many times larger, and then reduced, to be smooth."""


def grid(images: Tensor, columns: int) -> Image.Image:
    """Samples as one picture, row by row.

    Shapes: images (n, C, *spatial).
    """
    return arrange([tile(image) for image in images], columns)


def arrange(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size as one picture, row by row."""
    return _sheet(_rows(tiles, columns))


def beside(originals: Tensor, others: Tensor, columns: int = 8) -> Image.Image:
    """Rows of originals, each above the row of what became of them.

    Shapes: both (n, C, *spatial).
    """
    above, below = ([tile(image) for image in images] for images in (originals, others))
    pairs = zip(_rows(above, columns), _rows(below, columns), strict=True)
    rows = [row for pair in pairs for row in pair]
    return _sheet(rows, part_after_rows=range(1, len(rows), 2))


def strip(first: Tensor, images: Tensor, last: Tensor) -> Image.Image:
    """Samples in one row, between two others that are set apart.

    Shapes: images (n, C, *spatial), first and last without n.
    """
    row = [tile(image) for image in (first, *images, last)]
    return _sheet([row], part_after_columns=(0, len(images)))


def tile(image: Tensor, smallest: int = _SMALLEST_TILE) -> Image.Image:
    """One sample (C, *spatial) as a picture that is large enough to be seen."""
    if image.ndim == 2:
        return _curves(image)
    picture = to_picture(image)
    scale = max(1, -(-smallest // min(picture.size)))
    return picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    ).convert("RGB")


def to_picture(image: Tensor) -> Image.Image:
    """One image (C, H, W), or the middle slice of a volume, as a picture of its own size."""
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    pixels = to_uint8(image.detach().cpu())
    if len(pixels) == 3:
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(pixels[0].contiguous().numpy())


def drawn(figure: Figure) -> Image.Image:
    """A figure of matplotlib as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def _curves(signal: Tensor) -> Image.Image:
    """A signal (C, length) as a curve for each channel."""
    width, height = (_FINER * side for side in _CURVES_SIZE)
    margin = _FINER * _MARGIN
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    across = torch.linspace(margin, width - margin, max(2, signal.shape[1])).tolist()
    for channel, values in enumerate(signal.detach().float().cpu().clamp(0, 1)):
        levels = values if len(values) > 1 else values.repeat(2)
        heights = (margin + (1 - levels) * (height - 2 * margin)).tolist()
        points = list(zip(across, heights, strict=True))
        draw.line(points, fill=_LINES[channel % len(_LINES)], width=_FINER, joint="curve")
    return picture.resize(_CURVES_SIZE, Image.Resampling.BOX)


def _rows(tiles: Sequence[Image.Image], columns: int) -> list[Sequence[Image.Image]]:
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    part_after_rows: Collection[int] = (),
    part_after_columns: Collection[int] = (),
) -> Image.Image:
    """Tiles of one size in rows, with a wider gap where they are to be parted."""
    if not rows:
        raise ValueError("there is no sample to make a picture of")
    num_columns = max(map(len, rows))
    lefts = _starts(num_columns, rows[0][0].width, part_after_columns)
    tops = _starts(len(rows), rows[0][0].height, part_after_rows)
    sheet = Image.new("RGB", (lefts.pop(), tops.pop()), _BACKGROUND)
    for top, row in zip(tops, rows, strict=True):
        for left, picture in zip(lefts, row, strict=False):
            sheet.paste(picture, (left, top))
    return sheet


def _starts(count: int, side: int, part_after: Collection[int]) -> list[int]:
    """Where each of so many tiles begins along an axis, and, last, where the sheet ends."""
    starts = [_GAP]
    for number in range(count):
        parted = number in part_after and number + 1 < count
        starts.append(starts[-1] + side + (_WIDE_GAP if parted else _GAP))
    return starts
