"""Which shape and scale suit some pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from visarch.data.found import Reason, some
from visarch.data.picture import Picture
from visarch.data.preparation import Preparation, times
from visarch.data.reading import choose_size
from visarch.data.values import levels_for


def infer_preparation(
    pictures: Mapping[str, Picture],
    size: tuple[int, ...] | None = None,
    channels: int | None = None,
    why_size: str = "as asked for",
) -> tuple[Preparation, list[Reason]]:
    """The shape and scale that suit these pictures, but for what is given, and the reasons."""
    if size is None:
        size, why_size = choose_size([picture.size for picture in pictures.values()])
    in_color = [name for name, picture in pictures.items() if len(picture.values) == 3]
    if channels is not None:
        why_channels = "as asked for"
    elif in_color:
        channels = 3
        why_channels = "every image is in color"
        if len(in_color) < len(pictures):
            count = f"{len(in_color)} of {len(pictures)} images"
            why_channels = f"{count} are in color: {some(in_color)}"
    else:
        channels, why_channels = 1, "every image is gray"

    levels, integers, floats, why_levels = _infer_levels(pictures)
    reasons = [
        ("image size", times(size), why_size),
        ("channels", str(channels), why_channels),
        ("levels", str(levels), why_levels),
    ]
    return Preparation((channels, *size), levels, integers, floats), reasons


def _infer_levels(
    pictures: Mapping[str, Picture],
) -> tuple[int, tuple[float, float], tuple[float, float], str]:
    """Levels, the ranges of integers and of floats (see `Preparation`), and why."""
    integers, floats = Preparation.integers, Preparation.floats
    largest: dict[str, float] = {}
    for picture in pictures.values():
        kind = picture.values.dtype.kind
        largest[kind] = max(largest.get(kind, 0), picture.largest)
    levels = 256
    if "i" in largest:
        levels = levels_for(largest["i"])
        integers = (-0.5, levels - 0.5)
    if "f" in largest and largest["f"] <= 1:
        levels = 65536
    elif "f" in largest:
        of_floats = levels_for(largest["f"])
        floats = (-0.5, of_floats - 0.5)
        levels = max(levels, of_floats)

    deep = [name for name, picture in pictures.items() if picture.values.dtype != np.uint8]
    if not deep:
        return 256, integers, floats, "every image has 8 bits"
    if "u" in largest:
        why = f"{len(deep)} of {len(pictures)} images have more than 8 bits and are brought to 8: "
        return 256, integers, floats, why + some(deep)
    why = f"every image has more than 8 bits; the largest value is {max(largest.values()):g}"
    return levels, integers, floats, why
