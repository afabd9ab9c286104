"""What a classifier gets right and wrong, as charts and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from visarch.evaluation.classification import Reliability
from visarch.evaluation.intervals import wilson_interval
from visarch.pictures import arrange, drawn, tile

_BLUE, _GRAY = "#3b6fb6", "#9aa4b2"
_MOST_NUMBERS, _MOST_NAMES = 25, 120
"""Classes up to which a confusion matrix has its counts, and the names of all classes."""
_LONGEST_NAME = 22

_CAPTION_SIZE, _CAPTION_LINE = 12, 16
_NARROWEST, _TILE = 116, 96
_INK, _RED = (30, 41, 59), (180, 30, 40)


def confusion_chart(counts: Tensor, classes: Sequence[str]) -> Image.Image:
    """How many images of each class (row) are read as which (column): shares by shade, and numbers.

    Shades go by the root of the share, so that a few percent are seen. A class without images has a
    gray row.

    Shapes: counts (K, K).
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    num_classes = len(classes)
    numbered, named = num_classes <= _MOST_NUMBERS, num_classes <= _MOST_NAMES
    per_class = 0.34 if numbered else 0.125 if named else 0.0
    side = max(3.2, per_class * num_classes) if named else 9.0
    figure = Figure(figsize=(side + 1.6, side + 1.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(1, keepdim=True)
    shares = torch.where(totals > 0, counts / totals.clamp(min=1), torch.nan)
    axes.set_facecolor("#d9dde3")
    image = axes.imshow(shares.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if numbered:
        for row, column in counts.nonzero().tolist():
            dark = float(shares[row, column]) > 0.35
            number = f"{int(counts[row, column])}"
            axes.text(
                column, row, number, ha="center", va="center",
                fontsize=8 if len(number) < 4 else 6.5, color="white" if dark else "#1e293b",
            )  # fmt: skip
    if named:
        names = [_shortened(name) for name in classes]
        size = 9 if numbered else 6
        axes.set_xticks(range(num_classes), names, rotation=90, fontsize=size)
        axes.set_yticks(range(num_classes), names, fontsize=size)
        axes.tick_params(length=0)
    axes.set_xlabel("read as")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / side), aspect=15, pad=0.02)
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0", "1 %", "5 %", "20 %", "50 %", "100 %"])
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return drawn(figure)


def reliability_chart(bins: Reliability) -> Image.Image:
    """How often images are right, against how confident the classifier is of them.

    Each point is a bin of about equally many images, with its 95 % interval; on the line,
    confidence is the probability of being right.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    low, high = wilson_interval((bins.accuracy * bins.counts).round(), bins.counts)
    axes.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--", zorder=1)
    spread = torch.stack([bins.accuracy - low, high - bins.accuracy]).clamp(min=0)
    axes.errorbar(
        bins.confidence.tolist(), bins.accuracy.tolist(), yerr=spread.numpy(), fmt="o-",
        color=_BLUE, markersize=4, linewidth=1, elinewidth=1, capsize=2,
    )  # fmt: skip
    start = max(0.0, min(float(bins.confidence.min()), float(low.min())) - 0.02)
    axes.set_xlim(start, 1.02)
    axes.set_ylim(start, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.spines[["top", "right"]].set_visible(False)
    return drawn(figure)


def mistakes_picture(
    images: Tensor,
    labels: Tensor,
    predictions: Tensor,
    confidences: Tensor,
    classes: Sequence[str],
    columns: int = 8,
) -> Image.Image:
    """Images in rows, each above its class and what it is read as instead, with the confidence.

    Shapes: images (n, C, *spatial) on the unit scale, the others (n,).
    """
    entries = zip(images, labels.tolist(), predictions.tolist(), confidences.tolist(), strict=True)
    tiles = [
        _captioned(tile(image, _TILE), classes[label], f"→ {classes[read]}", f"{100 * sure:.1f} %")
        for image, label, read, sure in entries
    ]
    return arrange(tiles, columns)


def _captioned(picture: Image.Image, *lines: str) -> Image.Image:
    """A picture above lines of text, the second of which says what is wrong; what is too long is
    cut off."""
    font = _font(_CAPTION_SIZE)
    width = max(picture.width, _NARROWEST)
    whole = Image.new("RGB", (width, picture.height + _CAPTION_LINE * len(lines) + 6), "white")
    whole.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        while font.getlength(line) > width - 4:
            line = line.rstrip("…")[:-1] + "…"
        place = (width / 2, picture.height + _CAPTION_LINE * (number + 0.5) + 1)
        draw.text(place, line, fill=_RED if number == 1 else _INK, font=font, anchor="mm")
    return whole


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib; it knows most alphabets."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
