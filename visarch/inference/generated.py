"""Images drawn from a model, as another network would meet them: stored, and prepared anew."""

from __future__ import annotations

import torch
from torch import Tensor

from visarch.data import Preparation, Split, to_unit
from visarch.outputs import to_values


def store(images: Tensor, preparation: Preparation) -> Tensor:
    """Images (n, C, *spatial) on the unit scale as a split holds them: each value in its cell, what
    lies outside in the outermost."""
    if preparation.levels is None:
        return images.float().clamp(0, 1)
    levels = (images * preparation.levels).floor().clamp(0, preparation.levels - 1)
    return levels.to(preparation.empty(0).dtype)


def prepare_like(split: Split, own: Preparation, other: Preparation) -> Split:
    """Images of a split that were prepared in one way, prepared in another one.

    Raises:
        ValueError: the two are of different axes or scales; the message follows an image's name.
    """
    if own == other:
        return split
    images = []
    for indices in torch.arange(len(split)).split(1):
        stored = split.read(indices).images[0]
        values = to_values(to_unit(stored, own.levels), own)
        if own.levels is not None:
            values = values.round().to(stored.dtype)
        images.append(other.apply(values.numpy()))
    return Split(split.name, torch.stack(images), split.labels, split.names, split.vectors)
