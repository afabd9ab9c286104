"""Convolutions of small maps of many channels, as matrix products.

On a map of 4 × 4 a 3×3 window meets nearly all pixels, and a convolution is a product of large
matrices. oneDNN, which torch's convolutions run on, takes three to seven times as long for its
gradients there as for that product in bf16.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from visarch.blocks.convolution import Conv, SameConv

_MOST_PIXELS = 16
"""of a map that is small: on 8 × 8 already both ways take about as long"""
_FEWEST_CHANNELS = 128
"""Below, gathering takes longer than the product does."""


class FastConv(Conv):
    """Conv, as a matrix product where maps are small and numbers in bf16, on a CPU.

    Equal to Conv but for rounding. Its parameters are those of the Conv that it was made from.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._suits(x):
            return super().forward(x)
        return _SmallConv.apply(x, self.weight, self.bias, self.stride, self.padding)

    def _suits(self, x: Tensor) -> bool:
        if self.ndim != 2 or x.ndim != 4 or x.shape[1] != self.in_channels:
            return False  # where it is an error, Conv tells
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return False
        enabled = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if enabled else x.dtype
        sides = [self.output_size(side) for side in x.shape[2:]]
        return (
            dtype == torch.bfloat16
            and sides[0] * sides[1] <= _MOST_PIXELS
            and min(self.in_channels, self.out_channels) >= _FEWEST_CHANNELS
        )


class FastSameConv(SameConv, FastConv):
    """SameConv, likewise."""


class _SmallConv(torch.autograd.Function):
    """Conv(x) as the product of all its windows, one in a row, with the kernels, one in a column.

        y = rows(x) Wᵀ + b,   ∂W = ∂yᵀ rows(x),   ∂x = rowsᵀ(∂y W)

    rows gathers the C · F² numbers of each window; rowsᵀ adds each number to where it came from.

    Shapes: x (b, C, H, W), weight (C', C, F, F), bias (C') → (b, C', H', W'), in channels_last.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        windows = _Windows(x.shape, weight.shape[2], stride, padding)
        rows = windows.gather(x.to(torch.bfloat16))
        kernels = weight.to(torch.bfloat16).flatten(1)
        y = functional.linear(rows, kernels, None if bias is None else bias.to(torch.bfloat16))
        ctx.save_for_backward(rows, kernels)
        ctx.windows, ctx.shape = windows, weight.shape
        ctx.dtypes = x.dtype, weight.dtype, None if bias is None else bias.dtype
        return windows.as_map(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        rows, kernels = ctx.saved_tensors
        of_y = of_y.movedim(1, -1).flatten(0, 2)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = ctx.windows.scatter(of_y @ kernels).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            # torch multiplies a transposed view of these at two thirds of the speed
            of_weight = (of_y.T.contiguous() @ rows).to(ctx.dtypes[1]).view(ctx.shape)
        if ctx.needs_input_grad[2]:
            of_bias = of_y.sum(0, dtype=ctx.dtypes[2])
        return of_x, of_weight, of_bias, None, None


class _Windows:
    """Where the windows of a convolution lie on a padded map."""

    def __init__(self, shape: torch.Size, kernel_size: int, stride: int, padding: int) -> None:
        self.batch, self.channels, *self.sides = shape
        self.kernel_size, self.padding = kernel_size, padding
        self.counts = [(side + 2 * padding - kernel_size) // stride + 1 for side in self.sides]
        first = [slice(0, stride * (count - 1) + 1, stride) for count in self.counts]
        self.places = [
            tuple(
                slice(s.start + offset, s.stop + offset, stride)
                for s, offset in zip(first, at, strict=True)
            )
            for at in product(range(kernel_size), repeat=2)
        ]
        """For each place in a window, the pixels that are there in one of the windows."""

    def gather(self, x: Tensor) -> Tensor:
        """(b, C, H, W) → (b · H' · W', C · F²)."""
        pixels = x.movedim(1, -1)
        if self.padding:
            pixels = functional.pad(pixels, (0, 0, *(self.padding,) * 4))
        return torch.stack([pixels[:, rows, columns] for rows, columns in self.places], -1).view(
            -1, self.channels * self.kernel_size**2
        )

    def scatter(self, rows: Tensor) -> Tensor:
        """(b · H' · W', C · F²) → (b, C, H, W), in fp32 and channels_last."""
        padded = [side + 2 * self.padding for side in self.sides]
        pixels = rows.new_zeros(self.batch, *padded, self.channels, dtype=torch.float32)
        windows = rows.view(self.batch, *self.counts, self.channels, len(self.places))
        for number, (ys, xs) in enumerate(self.places):
            pixels[:, ys, xs] += windows[..., number]
        inner = [slice(self.padding, self.padding + side) for side in self.sides]
        return pixels[:, inner[0], inner[1]].movedim(-1, 1)

    def as_map(self, y: Tensor) -> Tensor:
        """(b · H' · W', C') → (b, C', H', W')."""
        return y.view(self.batch, *self.counts, -1).movedim(-1, 1)
