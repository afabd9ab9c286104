"""The matrix V of a small convolution, and Vᵀ, drawn: note, section 1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from visarch.blocks.convolution import (
    Conv,
    conv_matrix,
    conv_output_size,
    trans_conv_output_size,
)
from visarch.errors import UserError

_WIDEST, _LARGEST_CELL = 250, 26
_GAP = 44


class Drawn(NamedTuple):
    """A convolution on the page."""

    svg: str
    said: str
    """What the lemmas say of its sizes, in Markdown."""


def draw_matrix(ndim: int, size: int, kernel: int, stride: int, padding: int) -> Drawn:
    """V and Vᵀ of a convolution from one channel to one, with a color for each number of the
    filter.

    Raises:
        UserError: the filter is larger than the padded image.
    """
    try:
        output = conv_output_size(size, kernel, stride, padding)
    except ValueError as error:
        raise UserError(
            f"A filter of F = {kernel} does not fit an image of H = {size} with P = {padding} on "
            f"both ends: choose F ≤ H + 2P = {size + 2 * padding}."
        ) from error
    taps = tap_matrix(ndim, size, kernel, stride, padding)
    return Drawn(
        _svg(taps, _names(ndim, kernel)), _said(ndim, size, kernel, stride, padding, output)
    )


def tap_matrix(ndim: int, size: int, kernel: int, stride: int, padding: int) -> Tensor:
    """V with the number of a filter's element, from 1, in place of its value; 0 where V is zero.

    Shapes: (H'…, H…).
    """
    conv = Conv(1, 1, kernel, stride=stride, padding=padding, bias=False, ndim=ndim)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1, 1 + conv.weight.numel()).view_as(conv.weight))
        return conv_matrix(conv, (1, *[size] * ndim)).to_dense().round().long()


def _said(ndim: int, size: int, kernel: int, stride: int, padding: int, output: int) -> str:
    rows, columns = output**ndim, size**ndim
    lines = [
        f"**Conv**: H′ = ⌊(H + 2P − F)/S⌋ + 1 = ⌊({size} + {2 * padding} − {kernel})/{stride}⌋ + 1 "
        f"= **{output}**. vec(y) = V vec(x) with V of {rows} × {columns}."
    ]
    if padding > kernel - 1:
        lines.append(
            f"**TransConv** takes P ≤ F − 1 = {kernel - 1}: with P = {padding} it has no implicit "
            "convolution."
        )
    else:
        try:
            back = trans_conv_output_size(output, kernel, stride, padding)
        except ValueError:
            lines.append("**TransConv** would leave nothing: (H′ − 1)S + F − 2P < 1.")
        else:
            lost = size - back
            end = (
                ""
                if not lost
                else f", which is {lost} less than H: no window begins in what is left"
            )
            lines.append(
                f"**TransConv** multiplies by Vᵀ, and takes H′ = {output} to "
                f"(H′ − 1)S + F − 2P = **{back}**{end}."
            )
    return "\n\n".join(lines)


def _names(ndim: int, kernel: int) -> list[str]:
    """What each element of the filter is called."""
    if ndim == 1:
        return [f"w[{tap}]" for tap in range(kernel)]
    return [f"w[{row}, {column}]" for row in range(kernel) for column in range(kernel)]


def _svg(taps: Tensor, names: list[str]) -> str:
    cell = max(3, min(_LARGEST_CELL, _WIDEST // max(taps.shape)))
    rows, columns = taps.shape
    width = max((columns + rows) * cell + _GAP, 200) + 4
    height = max(rows, columns) * cell + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" class="matrix">',
        f"<title>V of {rows} by {columns}, and its transpose</title>",
        *_matrix(taps, names, "V", 2, cell),
        *_matrix(taps.T, names, "Vᵀ", 2 + columns * cell + _GAP, cell),
        "</svg>",
    ]
    return "".join(parts)


def _matrix(taps: Tensor, names: list[str], title: str, left: int, cell: int) -> list[str]:
    """A frame around the entries that are not zero."""
    top = 28
    rows, columns = taps.shape
    parts = [
        f'<text x="{left}" y="18" class="matrix-name">{title}</text>',
        f'<rect x="{left - 1}" y="{top - 1}" width="{columns * cell + 2}" '
        f'height="{rows * cell + 2}" class="matrix-frame"/>',
    ]
    for row, column in taps.nonzero().tolist():
        tap = int(taps[row, column]) - 1
        hue = round(360 * tap / len(names))
        parts.append(
            f'<rect x="{left + column * cell}" y="{top + row * cell}" width="{cell - 0.5}" '
            f'height="{cell - 0.5}" fill="hsl({hue} 65% 52%)">'
            f"<title>{title}[{row}, {column}] = {names[tap]}</title></rect>"
        )
    return parts
