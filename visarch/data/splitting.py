"""Which samples are held out for validation: decided by their names, so that it never changes."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

FRACTION = 0.1


def hold_out(
    names: Sequence[str], labels: Sequence[int] | None = None
) -> tuple[list[int], list[int], tuple[str, str, str]]:
    """Which samples that came unsplit are for training and which for validation, and the reason."""
    train, validation = split_by_name(names, labels)
    value = f"{len(train)} train, {len(validation)} validation"
    if len(names) == 1:
        why = "there is a single sample, so validation tells nothing about new ones"
    else:
        why = "by a hash of each name, so that new samples move none of those that were there"
    return train, validation, ("split", value, why)


def split_by_name(
    names: Sequence[str], classes: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the validation samples, each in the order of `names`.

    A sample is held out when the hash of its name, as a fraction of the largest hash, is below 0.1:
    neither seed nor order nor the other samples enter. Two exceptions keep small sets usable: every
    class keeps its sample with the largest hash for training, and of two samples or more one at
    least is held out (the smallest hash, from a class that keeps another if there is one). A single
    sample is on both sides.

    Raises:
        ValueError: there are no samples.
    """
    if not names:
        raise ValueError("there are no samples to split; at least 1 is needed")
    if len(names) == 1:
        return [0], [0]
    places = np.array([place(name) for name in names])
    labels = np.zeros(len(names), int) if classes is None else np.asarray(classes)
    kept = np.zeros(len(names), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept[members[places[members].argmax()]] = True
    held_out = (places < FRACTION) & ~kept
    if not held_out.any():
        held_out[np.where(kept & ~kept.all(), np.inf, places).argmin()] = True
    return np.flatnonzero(~held_out).tolist(), np.flatnonzero(held_out).tolist()


def place(name: str) -> float:
    """Where the hash of a name lies in [0, 1); however the file system spells its accents."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def spread(count: int, most: int) -> list[int]:
    """Positions of at most so many of `count` samples, evenly spaced: folders list one class
    after the other, and the first few would all be of one."""
    shown = min(count, most)
    return [number * count // shown for number in range(shown)]


def representatives(count: int, most: int) -> list[int]:
    """Positions of at most so many of `count` samples that stand for all: one from each of as many
    pieces of equal length, at a place of its own.

    Even steps would miss classes that take turns: of 0, 1, …, 9, 0, 1, … every second is even.
    """
    edges = pairwise([*spread(count, most), count])
    return [
        start + int(place(str(number)) * (end - start)) for number, (start, end) in enumerate(edges)
    ]
