"""Numbers over an image, and numbers as an image."""

from __future__ import annotations

import math

import torch
from PIL import Image as pillow
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from visarch.pictures import arrange, tile, to_picture

_FOR, _AGAINST = (0.84, 0.15, 0.16), (0.12, 0.40, 0.72)
_DENSITY = 0.65
"""How much of the image the strongest evidence covers."""
_TILE, _FEW = 72, 240
"""Pixels: of a feature map's side at least, and of all in a row if there are few."""
MOST_MAPS = 32
"""That are shown of a step."""


def over(image: Tensor, evidence: Tensor, side: int) -> Image:
    """An image under evidence for something (red) and against it (blue), enlarged to this side.

    The color's density is that of the evidence, in parts of the largest.

    Shapes: image (C, H, W) on the unit scale; evidence (h, w), laid over all of it.
    """
    scale = max(1, side // max(image.shape[1:]))
    shown = to_picture(image).convert("RGB")
    size = shown.width * scale, shown.height * scale
    shown = shown.resize(size, pillow.Resampling.NEAREST)
    smooth = functional.interpolate(
        evidence[None, None], size=(size[1], size[0]), mode="bilinear", align_corners=False
    )[0, 0]
    density = smooth / smooth.abs().max().clamp(min=torch.finfo(smooth.dtype).tiny)
    color = torch.where(
        density[..., None] >= 0, torch.tensor(_FOR), torch.tensor(_AGAINST)
    ).movedim(2, 0)
    mask = _DENSITY * density.abs()[None]
    return pillow.composite(to_picture(color), shown, to_picture(mask).convert("L"))


def sheet(maps: Tensor) -> Image:
    """Feature maps (c, h, w), the first of many, each from its smallest value (black) to its
    largest (white); of a vector (c,) one square for each number; a matrix (h, w) as one map."""
    if maps.ndim == 2:
        maps = maps[None]
    if maps.ndim == 1:
        columns = math.ceil(math.sqrt(len(maps)))
        missing = columns * math.ceil(len(maps) / columns) - len(maps)
        # (c,) → (1, rows, columns), the last row filled up with the mean
        filled = torch.cat([maps, maps.mean().expand(missing)]).view(1, -1, columns)
        return tile(_stretched(filled)[0], _FEW)
    shown = _stretched(maps[:MOST_MAPS])
    columns = math.ceil(math.sqrt(len(shown)))
    side = max(_TILE, _FEW // columns)
    return arrange([tile(stretched, side) for stretched in shown], columns)


def _stretched(maps: Tensor) -> Tensor:
    """Each of the maps (c, h, w) over the whole unit scale: (c, 1, h, w)."""
    low = maps.amin((1, 2), keepdim=True)
    span = (maps.amax((1, 2), keepdim=True) - low).clamp(min=torch.finfo(maps.dtype).tiny)
    return ((maps - low) / span)[:, None]
