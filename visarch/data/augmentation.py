"""Changes to a batch of training images that leave what they show as it is."""

from __future__ import annotations

import torch
from torch import Tensor


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Each image moved by whole pixels along each axis; what is laid bare repeats the edge.

    Whole pixels, because interpolation would blur: blurred images have another distribution.

    Shapes: images (b, C, *spatial), offsets (b, ndim) integers → as images.
    """
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        source = torch.arange(size, device=images.device) - offsets[:, axis - 2, None]  # (b, size)
        shape = [1] * images.ndim
        shape[0], shape[axis] = len(images), size
        index = source.clamp(0, size - 1).view(shape).expand(images.shape)
        images = images.gather(axis, index)
    return images
