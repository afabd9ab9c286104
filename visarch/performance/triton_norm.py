"""The operator ``visarch::group_norm_swish`` for GPUs, made of the kernels in triton_kernels.py.

It is one operator for torch.compile and torch.export, with a backward of its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from visarch.performance import triton_kernels

_WHOLE = 16384
"""Numbers of the largest tile that stays in registers: 32 of x and 32 of ∂y for each thread."""
_PART = 4096
"""Numbers of a tile where a program has several."""
_LEVELS = 1 << 16
"""How finely dropout's probability is resolved."""


class Tile(NamedTuple):
    """What one program computes at a time."""

    num_groups: int
    rows: int
    columns: int
    whole: bool
    num_warps: int


def tile(pixels: int, channels_per_group: int, num_groups: int) -> Tile:
    """How the work on one example is cut up.

    Columns are 16 to 64 channels, 32 to 128 bytes of a pixel: memory is read in pieces of 32 bytes,
    and above that two programs on a processor, one reading while the other computes, are worth more
    than longer pieces.
    """
    all_rows = triton.next_power_of_2(pixels)
    wanted = min(64, max(16, _WHOLE // 2 // all_rows))
    groups = min(max(1, wanted // channels_per_group), num_groups)
    groups = 1 << (groups.bit_length() - 1)  # a power of two keeps addresses aligned
    columns = max(16, triton.next_power_of_2(groups * channels_per_group))
    whole = all_rows * columns <= _WHOLE
    rows = all_rows if whole else max(1, _PART // columns)
    return Tile(groups, rows, columns, whole, min(16, max(1, rows * columns // 1024)))


def suits(x: Tensor) -> bool:
    """Whether the operator takes x: of at most 32 bits, and int32 counts an example's numbers."""
    formats = (torch.bfloat16, torch.float16, torch.float32)
    return x.dtype in formats and math.prod(x.shape[1:]) < 2**31


@torch.library.custom_op("visarch::group_norm_swish", mutates_args=())
def group_norm_swish(
    x: Tensor,
    context: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    seed: Tensor | None,
    num_groups: int,
    epsilon: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """y = Dropout(swish(GroupNorm(x + context))), μ and 1 / σ.

    Args:
        x: (b, C, *spatial) for which :func:`suits` holds.
        context: (b, C), added to every pixel, or none.
        weight: γ (C,).
        bias: β (C,).
        seed: one int64 on the same device, from which masks are drawn; none for no dropout.
        num_groups: G, a divisor of C.
        epsilon: ε.
        dropout: p, which takes effect where there is a seed.
    """
    x = _arranged(x)
    y = torch.empty_like(x)
    means, inverses = _statistics(x, num_groups)
    launch = _Launch(x, num_groups, dropout)
    launch(
        triton_kernels.forward,
        (x, _dense(context), weight, bias, seed, y, means, inverses),
        epsilon=epsilon,
    )
    return y, means, inverses


@group_norm_swish.register_fake
def _(
    x: Tensor,
    context: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    seed: Tensor | None,
    num_groups: int,
    epsilon: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(_arranged(x)), *_statistics(x, num_groups)


@torch.library.custom_op("visarch::group_norm_swish_backward", mutates_args=())
def group_norm_swish_backward(
    of_y: Tensor,
    x: Tensor,
    context: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    seed: Tensor | None,
    means: Tensor,
    inverses: Tensor,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, context (empty without one), γ and β, in the formats of these."""
    x = _arranged(x)
    gradient = torch.empty_like(x).copy_(of_y) if of_y.stride() != x.stride() else of_y
    # one part for each example, summed up in a fixed order: no atomics, so always the same result
    parts = x.new_empty(2, *x.shape[:2], dtype=torch.float32)
    of_weight, of_bias = parts
    of_x, of_context = torch.empty_like(x), _empty_context(x, context)
    given = gradient, x, _dense(context), weight, bias, seed, means, inverses
    launch = _Launch(x, means.shape[1], dropout)
    launch(triton_kernels.backward, (*given, of_x, of_context, of_weight, of_bias))
    return of_x, of_context, of_weight.sum(0).to(weight.dtype), of_bias.sum(0).to(bias.dtype)


@group_norm_swish_backward.register_fake
def _(
    of_y: Tensor,
    x: Tensor,
    context: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    seed: Tensor | None,
    means: Tensor,
    inverses: Tensor,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_x, of_context = torch.empty_like(_arranged(x)), _empty_context(x, context)
    return of_x, of_context, torch.empty_like(weight), torch.empty_like(bias)


def _setup_context(ctx: Any, inputs: Sequence[Any], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, context, weight, bias, seed, _, _, dropout = inputs
    _, means, inverses = output
    ctx.save_for_backward(x, context, weight, bias, seed, means, inverses)
    ctx.dropout = dropout
    ctx.mark_non_differentiable(means, inverses)


def _backward(ctx: Any, of_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    _, context, *_ = ctx.saved_tensors
    of_x, of_context, of_weight, of_bias = group_norm_swish_backward(
        of_y, *ctx.saved_tensors, ctx.dropout
    )
    return of_x, None if context is None else of_context, of_weight, of_bias, *[None] * 4


group_norm_swish.register_autograd(_backward, setup_context=_setup_context)


class _Launch:
    """The arguments that both kernels share, for one x."""

    def __init__(self, x: Tensor, num_groups: int, dropout: float) -> None:
        batch, channels, pixels = x.shape[0], x.shape[1], math.prod(x.shape[2:])
        cut = tile(pixels, channels // num_groups, num_groups)
        self._grid = (batch * triton.cdiv(num_groups, cut.num_groups),)
        last = not x.is_contiguous()
        threshold = round(dropout * _LEVELS)
        self._arguments = {
            "pixels": pixels,
            "channels": channels,
            "row_stride": channels if last else 1,
            "column_stride": 1 if last else pixels,
            "threshold": threshold,
            "factor": _LEVELS / (_LEVELS - threshold) if threshold < _LEVELS else 0.0,
            "D": channels // num_groups,
            "K": cut.num_groups,
            "ROWS": cut.rows,
            "COLUMNS": cut.columns,
            "WHOLE": cut.whole,
            "num_warps": cut.num_warps,
        }

    def __call__(self, kernel: Any, tensors: tuple[Tensor | None, ...], **more: float) -> None:
        if self._grid[0]:
            kernel[self._grid](*tensors, **self._arguments, **more)


def _arranged(x: Tensor) -> Tensor:
    """x with the pixels or the channels of an example next to each other in memory."""
    return x if x.is_contiguous() or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _dense(context: Tensor | None) -> Tensor | None:
    return None if context is None else context.contiguous()


def _statistics(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], num_groups)
    return x.new_empty(shape, dtype=torch.float32), x.new_empty(shape, dtype=torch.float32)


def _empty_context(x: Tensor, context: Tensor | None) -> Tensor:
    if context is None:
        return x.new_empty(0)
    return torch.empty_like(context, memory_format=torch.contiguous_format)
