"""Images, signals and volumes as pictures to look at."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from visarch.data.values import to_uint8

_BACKGROUND = (255, 255, 255)
_LINES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))
_SMALLEST_TILE = 56


def grid(images: Tensor, columns: int, *, gap: int = 2) -> Image.Image:
    """Samples as one picture, row by row.

    An image is shown as it is, in whole multiples of its size if it is small; a signal as a curve
    for each channel, a volume by its middle slice. One channel is gray, three are red, green and
    blue; of any other number the first is shown.

    Shapes: images (n, C, *spatial) in [0, 1]; what lies outside is cut off.
    """
    tiles = [tile(image) for image in images]
    if not tiles:
        raise ValueError("there is no image to put into a grid")
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), _BACKGROUND
    )
    for number, picture in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(picture, (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet


def tile(image: Tensor) -> Image.Image:
    """One sample (C, *spatial) as a picture, as :func:`grid` shows it."""
    if image.ndim == 2:
        return _curves(image)
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    picture = to_picture(image)
    scale = max(1, -(-_SMALLEST_TILE // min(picture.size)))
    return picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    ).convert("RGB")


def to_picture(image: Tensor) -> Image.Image:
    """One 2-d sample (C, H, W) in [0, 1] as a picture of its own size."""
    pixels = to_uint8(image.detach().float().cpu().clamp(0, 1))
    if len(pixels) == 3:
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(pixels[0].contiguous().numpy())


def beside(originals: Tensor, others: Tensor, columns: int = 8) -> Image.Image:
    """Rows of originals, each above the row of what became of them."""
    rows: list[Tensor] = []
    for start in range(0, len(originals), columns):
        for images in (originals[start : start + columns], others[start : start + columns]):
            blank = images.new_ones(columns - len(images), *images.shape[1:])
            rows.append(torch.cat([images, blank]))
    return grid(torch.cat(rows), columns)


def _curves(signal: Tensor, size: tuple[int, int] = (128, 64)) -> Image.Image:
    """A signal (C, length) as a curve for each channel."""
    width, height = size
    picture = Image.new("RGB", size, (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    for channel, values in enumerate(signal.detach().float().cpu().clamp(0, 1)):
        heights = (1 - values) * (height - 1)
        step = (width - 1) / max(1, len(values) - 1)
        points: Sequence[tuple[float, float]] = [
            (i * step, float(y)) for i, y in enumerate(heights)
        ]
        draw.line(points, fill=_LINES[channel % len(_LINES)])
    return picture
