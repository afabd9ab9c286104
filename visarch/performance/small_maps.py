"""Convolutions of small maps with many channels, as matrix products.

On a map of 4 × 4 a 3×3 window meets nearly all pixels, and a convolution is a product of large
matrices. oneDNN, on which torch's convolutions run, takes two to three times as long there for a
convolution with its gradients as those products do in bf16.
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from visarch.blocks.convolution import Conv, SameConv

_MOST_PIXELS = 16
"""of a map that a convolution makes; on 8 × 8 oneDNN is as fast or faster"""
_FEWEST_CHANNELS = 128
"""Below, gathering takes longer than the product does."""


class FastConv(Conv):
    """Conv, as a matrix product where it is faster: for small maps in bf16 on a CPU.

    Equal to Conv but for rounding; but gradients of its gradients cannot be had.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._suits(x):
            return super().forward(x)
        return _MatrixConv.apply(x, self.weight, self.bias, self.stride, self.padding)

    def _suits(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or x.ndim != 4 or torch.compiler.is_compiling():
            return False
        if self.ndim != 2 or x.shape[1] != self.in_channels:
            return False  # Conv says what is wrong with it
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        height, width = (self.output_size(side) for side in x.shape[2:])
        return (
            dtype == torch.bfloat16
            and height * width <= _MOST_PIXELS
            and min(self.in_channels, self.out_channels) >= _FEWEST_CHANNELS
        )


class FastSameConv(SameConv, FastConv):
    """SameConv, likewise."""


class _MatrixConv(torch.autograd.Function):
    """Conv(x) as the product of all its windows, one in each row, with the kernels.

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
        ctx.windows, ctx.kernel_shape = windows, weight.shape
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (x, weight, bias)]
        return y.view(windows.batch, *windows.counts, -1).movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        rows, kernels = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        of_y = of_y.movedim(1, -1).flatten(0, 2)  # (b · H' · W', C')
        if ctx.needs_input_grad[0]:
            of_x = ctx.windows.scatter(of_y @ kernels).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            # a transposed view would be multiplied at two thirds of the speed
            of_weight = of_y.T.contiguous() @ rows
            of_weight = of_weight.to(ctx.dtypes[1]).view(ctx.kernel_shape)
        if ctx.needs_input_grad[2]:
            of_bias = of_y.sum(0, dtype=ctx.dtypes[2])
        return of_x, of_weight, of_bias, None, None


class _Windows:
    """Where the windows of a convolution lie on the padded map."""

    def __init__(self, shape: torch.Size, kernel_size: int, stride: int, padding: int) -> None:
        self.batch, self.channels, *self.sides = shape
        self.padding = padding
        self.counts = [(side + 2 * padding - kernel_size) // stride + 1 for side in self.sides]
        reach = [stride * (count - 1) + 1 for count in self.counts]
        self.pixels = [
            tuple(slice(at, at + far, stride) for at, far in zip(place, reach, strict=True))
            for place in product(range(kernel_size), repeat=2)
        ]
        """Rows and columns of the pixels that lie at each place of a window."""

    def gather(self, x: Tensor) -> Tensor:
        """(b, C, H, W) → (b · H' · W', C · F²)."""
        padded = functional.pad(x.movedim(1, -1), (0, 0, *(self.padding,) * 4))
        places = [padded[:, rows, columns] for rows, columns in self.pixels]
        return torch.stack(places, -1).view(-1, self.channels * len(places))

    def scatter(self, rows: Tensor) -> Tensor:
        """(b · H' · W', C · F²) → (b, C, H, W), summed in fp32."""
        sides = [side + 2 * self.padding for side in self.sides]
        padded = rows.new_zeros(self.batch, *sides, self.channels, dtype=torch.float32)
        windows = rows.view(self.batch, *self.counts, self.channels, -1)
        for place, (ys, xs) in zip(windows.unbind(-1), self.pixels, strict=True):
            padded[:, ys, xs] += place
        height, width = (slice(self.padding, self.padding + side) for side in self.sides)
        return padded[:, height, width].movedim(-1, 1)
