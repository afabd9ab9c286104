"""Receptive fields: which pixels of the input each pixel of a feature map can see, exactly.

All windows here are equally long on every axis, so one axis tells about all of them. What counts is
reach through convolutions, pooling and attention. The statistics of GroupNorm, LayerNorm and
InstanceNorm take in the whole image as well, but by two numbers a group: they are left out, as
usual, and so is BatchNorm, which in eval mode looks at no other pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce, singledispatch

from torch import nn

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, ConvLayer, TransConv
from visarch.blocks.normalization import Normalization
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.unet import ResBlockU, ResidualAttn, Step, Turn


@dataclass(frozen=True)
class Field:
    """Pixel i of a feature map sees the input's pixels low(i) … high(i), along each axis.

    Both are periodic: low(i + p) = low(i) + a, and likewise high. They are given for the p pixels
    of one period, 0 … p − 1, together with the ``advance`` a. The image itself has p = a = 1; a
    convolution of stride S multiplies a, a transposed one p. This is so on an endless image; on a
    real one, away from its edges.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    advance: int

    def at(self, pixel: int) -> tuple[float, float]:
        """low(i) and high(i); (∞, −∞) for a pixel that sees nothing."""
        periods, phase = divmod(pixel, len(self.low))
        shift = periods * self.advance
        return self.low[phase] + shift, self.high[phase] + shift

    @property
    def size(self) -> float:
        """How many pixels are seen along an axis, by the one of the p that sees most; ∞ for all."""
        return max(0, *(high - low + 1 for low, high in zip(self.low, self.high, strict=True)))

    def __or__(self, other: Field) -> Field:
        """What either sees: the field of a sum, or of channels put side by side."""
        period = math.lcm(len(self.low), len(other.low))
        pairs = [(self.at(pixel), other.at(pixel)) for pixel in range(period)]
        return Field(
            low=tuple(min(mine[0], theirs[0]) for mine, theirs in pairs),
            high=tuple(max(mine[1], theirs[1]) for mine, theirs in pairs),
            advance=max(
                self.advance * (period // len(self.low)),
                other.advance * (period // len(other.low)),
            ),
        )

    def through_window(self, kernel_size: int, stride: int, padding: int) -> Field:
        """The field after a convolution or a pooling: pixel i looks at iS − P … iS − P + F − 1."""
        period = math.lcm(len(self.low), stride) // stride
        windows = [
            [self.at(pixel * stride - padding + tap) for tap in range(kernel_size)]
            for pixel in range(period)
        ]
        return _hull(windows, self.advance * (period * stride) // len(self.low))

    def through_transposed_window(self, kernel_size: int, stride: int, padding: int) -> Field:
        """The field after a transposed convolution: pixel j looks at every i with iS + f − P = j.

        With F < S some pixels look at none: they are the bias alone.
        """
        windows = [
            [
                self.at((pixel + padding - tap) // stride)
                for tap in range(kernel_size)
                if (pixel + padding - tap) % stride == 0
            ]
            for pixel in range(len(self.low) * stride)
        ]
        return _hull(windows, self.advance)


IMAGE = Field((0,), (0,), advance=1)
"""Each pixel of the image sees itself."""

EVERYTHING = Field((-math.inf,), (math.inf,), advance=0)
"""Each pixel sees the whole image, as after attention."""

NOTHING = Field((math.inf,), (-math.inf,), advance=0)
"""No pixel of the image is seen."""


@singledispatch
def through(module: nn.Module, field: Field) -> Field:
    """The field of a module's output, given that of its input.

    Raises:
        TypeError: for a module that this file does not know.
    """
    raise TypeError(f"the receptive field of {type(module).__name__} is not known")


@through.register(nn.Identity)
@through.register(nn.Dropout)
@through.register(Normalization)
def _same(module: nn.Module, field: Field) -> Field:
    return field


@through.register
def _conv(module: Conv, field: Field) -> Field:
    return field.through_window(module.kernel_size, module.stride, module.padding)


@through.register
def _conv_layer(module: ConvLayer, field: Field) -> Field:
    return through(module.conv, field)


@through.register
def _trans_conv(module: TransConv, field: Field) -> Field:
    return field.through_transposed_window(module.kernel_size, module.stride, module.padding)


@through.register(Attn)
@through.register(ResidualAttn)
@through.register(nn.Linear)  # of a whole feature map, laid out in one row
def _all_pixels(module: nn.Module, field: Field) -> Field:
    return EVERYTHING


@through.register
def _sequence(module: nn.Sequential, field: Field) -> Field:
    return _through_all(list(module), field)


@through.register
def _residual(module: ResidualBlock, field: Field) -> Field:
    return _through_all([module.conv1, module.conv2], field) | through(module.shortcut, field)


@through.register
def _bottleneck(module: BottleneckBlock, field: Field) -> Field:
    long_way = _through_all([module.conv1, module.conv2, module.conv3], field)
    return long_way | through(module.shortcut, field)


@through.register
def _residual_of_the_unet(module: ResBlockU, field: Field) -> Field:
    return _through_all([module.conv1, module.conv2], field) | through(module.shortcut, field)


@through.register
def _step(module: Step, field: Field) -> Field:
    return _through_all([module.block, module.attention], field)


@through.register
def _turn(module: Turn, field: Field) -> Field:
    return _through_all([module.first, module.second], field)


def _through_all(modules: list[nn.Module], field: Field) -> Field:
    return reduce(lambda seen, module: through(module, seen), modules, field)


def _hull(windows: list[list[tuple[float, float]]], advance: int) -> Field:
    """The field whose pixels look at these windows of another: from the lowest to the highest."""
    return Field(
        low=tuple(min((low for low, _ in window), default=math.inf) for window in windows),
        high=tuple(max((high for _, high in window), default=-math.inf) for window in windows),
        advance=advance,
    )
