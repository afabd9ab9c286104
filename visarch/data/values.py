"""Stored values and the unit interval: an image with L levels is L cells that tile [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(raw: Tensor, levels: int | None) -> Tensor:
    """Stored values as numbers in [0, 1]: level k becomes the center of its cell, (k + ½)/levels.

    Continuous values (levels None) are stored on that scale already and stay as they are.
    """
    return raw.float() if levels is None else (raw.float() + 0.5) / levels


def dequantize(raw: Tensor, levels: int | None, uniform: Tensor) -> Tensor:
    """Level k spread evenly over its cell: (k + u)/levels with u uniform in [0, 1).

    A density of these, averaged over u, bounds the probability of the discrete image. Continuous
    values (levels None) have no cells and stay as they are.

    Source: Theis, van den Oord and Bethge, A note on the evaluation of generative models, 3.1.
    """
    return raw.float() if levels is None else (raw.float() + uniform) / levels


def to_uint8(unit: Tensor) -> Tensor:
    """Numbers as 8-bit pixels: ⌊256 x⌋, where what lies outside [0, 1] becomes 0 or 255.

    It undoes `to_unit` for 256 levels.
    """
    return (unit.float() * 256).floor().clamp(0, 255).to(torch.uint8)


def levels_for(largest: float) -> int:
    """How many levels hold the whole numbers 0 … largest: 256, 1024, 4096, 16384 or 65536.

    These are the depths (8, 10, 12, 14, 16 bits) that cameras and scanners deliver, mostly in files
    of 16 bits.

    Raises:
        ValueError: `largest` needs more than 16 bits.
    """
    for bits in (8, 10, 12, 14, 16):
        if largest < 2**bits:
            return 2**bits
    raise ValueError(f"a largest value of {largest:g} needs more than 16 bits; at most 65535 fits")
