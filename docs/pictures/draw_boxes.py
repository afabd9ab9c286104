"""The pictures of the boxes on the maths page, drawn from the boxes themselves.

    python docs/pictures/draw_boxes.py

What they show is computed: where V has entries by `conv_matrix`, which pixel looks at which by
`attention`, which numbers are normalized together by the sets of the literal reference.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

import visarch
from visarch.reference.normalization import (
    select_batch,
    select_group,
    select_instance,
    select_layer,
)

FOLDER = Path(__file__).parent
INK, FAINT, LINE, PAPER, EMPTY = "#1e293b", "#5b6779", "#c3ccd8", "#ffffff", "#eef1f5"
BLUE, AMBER, GREEN, RED, TEAL = "#4f7cc4", "#e8a33d", "#5aa874", "#c8607a", "#3fa7b5"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

Color = Callable[[int, int], str]


class Sheet:
    """Squares and words on white, so that they read on light and on dark pages."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self.parts = [
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
        ]

    def cells(
        self, center: float, middle: float, side: float, rows: int, columns: int, color: Color
    ) -> tuple[float, float]:
        """A grid around a point; each cell has the color of its row and column.

        Returns:
            Its upper left corner.
        """
        left, top = center - side * columns / 2, middle - side * rows / 2
        for row, column in product(range(rows), range(columns)):
            self.parts.append(
                f'<rect x="{left + side * column:g}" y="{top + side * row:g}" width="{side:g}" '
                f'height="{side:g}" fill="{color(row, column)}" stroke="{LINE}" '
                'stroke-width="0.7"/>'
            )
        return left, top

    def frame(self, left: float, top: float, side: float, color: str) -> None:
        self.parts.append(
            f'<rect x="{left:g}" y="{top:g}" width="{side:g}" height="{side:g}" fill="none" '
            f'stroke="{color}" stroke-width="2.5"/>'
        )

    def text(self, x: float, y: float, text: str, size: float = 15, color: str = INK) -> None:
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{color}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )

    def note(self, x: float, y: float, text: str) -> None:
        self.text(x, y, text, 12.5, FAINT)

    def to_svg(self) -> str:
        lines = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" font-family="{FONT}">\n'
            f"{lines}\n</svg>\n"
        )


def matrix() -> str:
    """A filter and its first window, V, and Vᵀ: each number of the filter has its color."""
    sheet = Sheet(720, 320, "A convolution's window, its matrix V, and the transpose of V")
    conv = visarch.Conv(1, 1, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 5.0).view(1, 1, 2, 2))
    v = visarch.conv_matrix(conv, (1, 3, 3)).to_dense().round().int()
    colors = (PAPER, BLUE, AMBER, GREEN, RED)

    def entry(numbers: Tensor) -> Color:
        return lambda row, column: colors[int(numbers[row, column])]

    sheet.text(105, 34, "x, and its first window")
    left, top = sheet.cells(
        105, 165, 34, 3, 3, entry(torch.tensor([[1, 2, 0], [3, 4, 0], [0] * 3]))
    )
    sheet.frame(left, top, 68, INK)
    for number in range(4):
        row, column = divmod(number, 2)
        name = f"w{'₁₂₃₄'[number]}"
        sheet.text(left + 34 * column + 17, top + 34 * row + 22, name, 15, PAPER)
    sheet.note(105, 296, "F = 2, S = 1, P = 0")
    sheet.text(340, 34, "V: a row for each window")
    sheet.cells(340, 165, 24, *v.shape, entry(v))
    sheet.note(340, 296, "Conv(x) = V vec(x)")
    sheet.text(600, 34, "Vᵀ: a row for each pixel")
    sheet.cells(600, 165, 24, *v.T.shape, entry(v.T))
    sheet.note(600, 296, "TransConv(y) = Vᵀ vec(y)")
    return sheet.to_svg()


def transposed() -> str:
    """3 × 3 pixels, zeros between and around them, and the 5 × 5 that come out."""
    sheet = Sheet(
        720, 260, "A transposed convolution: zeros between the pixels, then a convolution"
    )
    size, window, stride, padding = 3, 3, 2, 1
    around = window - 1 - padding
    spread = size + (size - 1) * (stride - 1) + 2 * around
    out = visarch.trans_conv_output_size(size, window, stride, padding)
    assert out == spread - window + 1

    def pixel(row: int, column: int) -> str:
        places = [divmod(place - around, stride) for place in (row, column)]
        there = all(number in range(size) and rest == 0 for number, rest in places)
        return BLUE if there else EMPTY

    sheet.text(90, 34, "x: 3 × 3")
    sheet.cells(90, 135, 22, size, size, lambda row, column: BLUE)
    sheet.text(190, 142, "→", 22, FAINT)
    sheet.text(345, 34, "zeros: S − 1 between, F − 1 − P around")
    left, top = sheet.cells(345, 135, 22, spread, spread, pixel)
    sheet.frame(left, top, 22 * window, RED)
    sheet.note(345, 240, "F = 3, S = 2, P = 1; the flipped window moves by 1")
    sheet.text(500, 142, "→", 22, FAINT)
    sheet.text(605, 34, f"{out} × {out}: (H − 1)S + F − 2P")
    sheet.cells(605, 135, 22, out, out, lambda row, column: AMBER)
    return sheet.to_svg()


def attention() -> str:
    """Queries against keys give a row of weights for each pixel, which mixes the values."""
    torch.manual_seed(3)
    q, k, v = 1.5 * torch.randn(3, 6, 3)
    weights = (q @ k.T / 3**0.5).softmax(1)
    mixed = visarch.attention(q[None, None], k[None, None], v[None, None])[0, 0]
    assert torch.allclose(mixed, weights @ v, atol=1e-6)
    sheet = Sheet(720, 250, "Attention: queries and keys give weights, which mix the values")

    def shade(numbers: Tensor, color: str) -> Color:
        part = (numbers - numbers.min()) / (numbers.max() - numbers.min())
        full = [int(color[place : place + 2], 16) for place in (1, 3, 5)]

        def at(row: int, column: int) -> str:
            levels = (round(255 + (level - 255) * float(part[row, column])) for level in full)
            return "#" + "".join(f"{level:02x}" for level in levels)

        return at

    for center, name, told, numbers, color in (
        (70, "q", "n pixels, d numbers", q, BLUE),
        (205, "kᵀ", "", k.T, AMBER),
        (395, "softmax(q kᵀ/√d)", "n × n; each row sums to 1", weights, RED),
        (535, "v", "", v, GREEN),
        (655, "a", "a row for each pixel", mixed, TEAL),
    ):
        sheet.text(center, 34, name)
        sheet.cells(center, 130, 24, *numbers.shape, shade(numbers, color))
        sheet.note(center, 230, told)
    for center, sign in ((300, "→"), (485, "·"), (595, "=")):
        sheet.text(center, 137, sign, 20, FAINT)
    return sheet.to_svg()


def normalization() -> str:
    """The same batch four times: what is normalized together with one marked number."""
    sheet = Sheet(720, 270, "Which numbers are normalized together, by each of the four selects")
    shape, marked = (3, 4, 2, 2), (1, 1, 0, 0)
    selects = {
        "batch: c' = c": select_batch,
        "layer: k' = k": select_layer,
        "instance: both": select_instance,
        "group (G = 2)": select_group(2),
    }
    for number, (name, select) in enumerate(selects.items()):
        center, members = 96 + 176 * number, select(marked, shape)
        sheet.text(center, 34, name)
        for k, c in product(range(shape[0]), range(shape[1])):

            def color(i: int, j: int, k: int = k, c: int = c, members=members) -> str:
                if (k, c, i, j) == marked:
                    return RED
                return BLUE if members[k, c, i, j] else EMPTY

            sheet.cells(center + 46 * (k - 1), 72 + 42 * c, 17, *shape[2:], color)
    sheet.note(
        360, 250, "columns: examples k; rows: channels c. Red: the number that is normalized"
    )
    return sheet.to_svg()


PICTURES = {
    "box-matrix.svg": matrix,
    "box-transposed.svg": transposed,
    "box-attention.svg": attention,
    "box-normalization.svg": normalization,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), "utf-8")
