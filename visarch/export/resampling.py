"""Pillow's resizing as operations on tensors, so that an exported graph can hold it.

:func:`fit` is :func:`visarch.data.picture.fit`, by which training, ``predict`` and all others
prepare their images: the largest centered part with the sides' ratio that is wanted, resampled by
Lanczos' filter, in which an axis of n pixels becomes one of m through an (m, n) matrix. 8-bit
images are computed as Pillow does, with weights in units of 2⁻²² and whole numbers between the two
axes, and come out as they do from it, save that a runtime's own sine may round a weight otherwise
and move a pixel in a thousand by one level.
"""

import PIL
import torch
from torch import Tensor

_CHOOSES_AXIS = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether Pillow may begin with the rows; before version 13 it began with the columns always."""
_UNIT = 2.0**-22
_REACH = 3.0
"""Pixels on either side of the center that Lanczos' filter looks at, unless it shrinks an image."""


def fit(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images resized to fill (height, width), and center-cropped; the sides may be symbols.

    Shapes: (b, C, h, w) → (b, C, height, width), of the same type: uint8, int32 or float32.

    Source: Pillow, ``ImageOps.fit`` and ``Resample.c``, in the version that is installed.
    """
    height, width = size
    h, w = _number(images.shape[2]), _number(images.shape[3])
    ratio = width / height
    crop_h, crop_w = torch.minimum(h, w / ratio), torch.minimum(w, ratio * h)
    rows = _weights(images.shape[2], (h - crop_h) * 0.5, crop_h, height)  # (height, h)
    columns = _weights(images.shape[3], (w - crop_w) * 0.5, crop_w, width)  # (width, w)
    if _CHOOSES_AXIS:
        lost_h, lost_w = h - height, w - width
        rows_first = (lost_h > 0) & (lost_h > 2 * lost_w)
        fitted = torch.cond(rows_first, _rows_first, _columns_first, (images, rows, columns))
    else:
        fitted = _columns_first(images, rows, columns)
    if images.dtype == torch.uint8:
        return fitted
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    fitted = torch.minimum(torch.maximum(fitted, low.float()), high.float())
    return fitted if images.is_floating_point() else fitted.round().to(images.dtype)


def _rows_first(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _along_width(_along_height(images, rows), columns)


def _columns_first(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _along_height(_along_width(images, columns), rows)


def _along_height(images: Tensor, weights: Tensor) -> Tensor:
    """(b, C, h, w) by (m, h) → (b, C, m, w)."""
    return _stored(_units(weights, images) @ images.double(), images)


def _along_width(images: Tensor, weights: Tensor) -> Tensor:
    """(b, C, h, w) by (m, w) → (b, C, h, m)."""
    return _stored(images.double() @ _units(weights, images).T, images)


def _units(weights: Tensor, images: Tensor) -> Tensor:
    """Whole numbers of units for 8-bit images, whose sums are then exact in 64 bits."""
    return (weights / _UNIT).round() if images.dtype == torch.uint8 else weights


def _stored(sums: Tensor, images: Tensor) -> Tensor:
    """As what Pillow keeps between and after the axes."""
    if images.dtype != torch.uint8:
        return sums.float()
    return (sums * _UNIT + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _weights(length: int, start: Tensor, extent: Tensor, count: int) -> Tensor:
    """(count, length): what each new pixel takes of each old one between start and start + extent.

    The ends are of 32 bits, as in Pillow.
    """
    first, last = start.float(), (start + extent).float()
    scale = (last - first).double() / count
    widening = scale.clamp(min=1.0)
    reach = _REACH * widening
    center = (first.double() + (torch.arange(count, dtype=torch.float64) + 0.5) * scale)[:, None]
    pixel = torch.arange(length, dtype=torch.float64)
    seen = (pixel >= (center - reach + 0.5).trunc()) & (pixel < (center + reach + 0.5).trunc())
    offset = (pixel + 0.5 - center) / widening
    weights = torch.where(seen & (offset.abs() < _REACH), _lanczos(offset), 0.0)
    return weights / weights.sum(1, keepdim=True)


def _lanczos(x: Tensor) -> Tensor:
    return _sinc(x) * _sinc(x / _REACH)


def _sinc(x: Tensor) -> Tensor:
    """sin(π x) / π x."""
    angle = torch.where(x == 0, 1.0, torch.pi * x)
    return torch.where(x == 0, 1.0, angle.sin() / angle)


def _number(side: int) -> Tensor:
    return torch.full((), side, dtype=torch.float64)
