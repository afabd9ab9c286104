"""RandAugment (Cubuk et al. 2020): each image is changed by a few operations, drawn from a list.

Images are on the unit scale, (b, C, H, W). Each operation takes them and its strengths (b, 1, 1, 1)
in [−1, 1], where 0 changes nothing. Those that need colors take the first three channels' luma for
the gray of an image, or the channels' mean where there are not three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from visarch.data.augmentation import affine, turn_and_zoom

MOST = 10
"""The largest magnitude."""

_LUMA = (0.299, 0.587, 0.114)
_BINS = 256


def rand_augment(x: Tensor, choices: Tensor, signs: Tensor, magnitude: float) -> Tensor:
    """Each image changed by the operations chosen for it, one after the other.

    Args:
        x: (b, C, H, W) on the unit scale.
        choices: (b, N) integers, which of `OPERATIONS`.
        signs: (b, N), −1 or 1: which way an operation goes that has two.
        magnitude: M, from 0 to 10.

    Raises:
        ValueError: these are no images, or M lies outside.

    Source: Cubuk et al. 2020, RandAugment: Practical Automated Data Augmentation with a Reduced
    Search Space.
    """
    if x.ndim != 4:
        raise ValueError(
            f"RandAugment is for images (b, C, H, W), but these samples have {x.ndim - 2} spatial "
            "axes"
        )
    if not 0 <= magnitude <= MOST:
        raise ValueError(f"a magnitude of {magnitude} lies outside [0, {MOST}]")
    every = list(OPERATIONS.values())
    for chosen, sign in zip(choices.unbind(1), signs.unbind(1), strict=True):
        order = chosen.argsort(stable=True)
        counts = chosen.bincount(minlength=len(every)).tolist()
        strengths = (sign[order] * (magnitude / MOST)).to(x.dtype).view(-1, 1, 1, 1)
        parts = zip(every, x[order].split(counts), strengths.split(counts), strict=True)
        x = torch.cat([change(part, strength) for change, part, strength in parts if len(part)])
        x = x[order.argsort()]
    return x


def brightness(x: Tensor, strength: Tensor) -> Tensor:
    """Away from black, or towards it."""
    return _blend(torch.zeros_like(x), x, strength)


def contrast(x: Tensor, strength: Tensor) -> Tensor:
    """Away from the image's mean gray, or towards it."""
    return _blend(_gray(x).mean((2, 3), keepdim=True), x, strength)


def color(x: Tensor, strength: Tensor) -> Tensor:
    """Away from the gray image, or towards it."""
    return _blend(_gray(x), x, strength)


def sharpness(x: Tensor, strength: Tensor) -> Tensor:
    """Away from the smoothed image, or towards it; pixels at the edge stay as they are."""
    if min(x.shape[2:]) < 3:
        return x
    around = 9 * functional.avg_pool2d(x, 3, stride=1)  # the sum of 3 × 3 pixels
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (around + 4 * x[:, :, 1:-1, 1:-1]) / 13
    return _blend(smooth, x, strength)


def solarize(x: Tensor, strength: Tensor) -> Tensor:
    """Values above 1 − |s| inverted."""
    return torch.where(x >= 1 - strength.abs(), 1 - x, x)


def posterize(x: Tensor, strength: Tensor) -> Tensor:
    """As in 8 bits of which the last 4 |s| are not known: each value in the middle of its cell."""
    levels = 2 ** (8 - (4 * strength.abs()).round())
    return ((x * levels).floor().clamp(max=levels - 1) + 0.5) / levels


def autocontrast(x: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched from black to white, whatever the strength; one of a single value
    stays as it is."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-12), x)


def equalize(x: Tensor, strength: Tensor) -> Tensor:
    """Each channel with its values spread evenly, whatever the strength: a value becomes the share
    of those below it, in 256 cells; a channel of a single value stays as it is."""
    cells = (x * _BINS).long().clamp(0, _BINS - 1).flatten(2)  # (b, C, H W)
    histogram = x.new_zeros(*x.shape[:2], _BINS).scatter_add_(
        2, cells, x.new_ones(()).expand(cells.shape)
    )
    upto = histogram.cumsum(2)
    last = histogram.gather(2, cells.amax(2, keepdim=True))  # how many share the largest value
    rest = upto[:, :, -1:] - last
    shares = ((upto - histogram) / rest.clamp(min=1)).gather(2, cells)
    return torch.where(rest > 0, shares, x.flatten(2)).view(x.shape)


def rotate(x: Tensor, strength: Tensor) -> Tensor:
    """By up to 30°."""
    angles = strength.view(-1, 1) * math.pi / 6
    return _moved(x, turn_and_zoom(angles, torch.zeros_like(angles[:, 0]), 2))


def slant(x: Tensor, strength: Tensor, axis: int) -> Tensor:
    """Along an axis, by up to 0.3 of the distance from the middle of the other."""
    generators = x.new_zeros(len(x), 2, 2)
    generators[:, axis, 1 - axis] = 0.3 * strength.flatten()
    return _moved(x, generators)


def move(x: Tensor, strength: Tensor, axis: int) -> Tensor:
    """Along an axis, by up to 0.3 of the image."""
    offsets = x.new_zeros(len(x), 2)
    offsets[:, axis] = 0.3 * x.shape[axis + 2] * strength.flatten()
    return _moved(x, x.new_zeros(len(x), 2, 2), offsets)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda x, strength: x,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "rotate": rotate,
    "solarize": solarize,
    "color": color,
    "posterize": posterize,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
    "slant across": partial(slant, axis=1),
    "slant down": partial(slant, axis=0),
    "move across": partial(move, axis=1),
    "move down": partial(move, axis=0),
}
"""The paper's fourteen, in the order that the choices count in."""


def _moved(x: Tensor, generators: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Mirrored beyond the edge, where black corners would be something else to learn."""
    offsets = x.new_zeros(len(x), 2) if offsets is None else offsets
    return affine(x, generators, offsets, "mirror")


def _blend(other: Tensor, x: Tensor, strength: Tensor) -> Tensor:
    """From the other image to this one, and beyond: other + (1 + 0.9 s) (x − other)."""
    return torch.lerp(other.expand_as(x), x, 1 + 0.9 * strength).clamp(0, 1)


def _gray(x: Tensor) -> Tensor:
    """(b, 1, H, W)."""
    if x.shape[1] == 3:
        return (x * x.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    return x.mean(1, keepdim=True)
