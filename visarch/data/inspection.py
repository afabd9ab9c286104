"""A look at each sample of some data, as it is: what `visarch check` goes by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from visarch.data.digits import open_digits
from visarch.data.files import File
from visarch.data.found import Found, Sample
from visarch.data.hub import PREFIX, must_stream
from visarch.data.numbers import of_one_type
from visarch.data.opening import ARRAYS, find_images
from visarch.data.picture import (
    ANIMATED,
    TRANSPARENT,
    UnreadableImage,
    read_picture,
    warnings_as_notes,
)
from visarch.data.reading import Progress, in_threads
from visarch.data.streaming import find_stream
from visarch.data.table import read_tables

_TOGETHER = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a sample."""

    name: str
    split: str
    label: str | None
    shape: tuple[int, ...]
    """Height and width of an image; channels and axes of an array's sample."""
    kind: str
    """Format and mode of a file, or type of an array."""
    digest: bytes
    """The same for the same pixels, whatever the file's format."""
    notes: tuple[str, ...] = ()


Damaged = tuple[str, str]
"""(name, why)"""


def look(source: str, progress: Progress | None = None) -> tuple[Found, Iterator[Seen | Damaged]]:
    """What some data holds, and a look at each sample of it.

    Raises:
        UserError: there is no such data.
    """
    if source == "digits":
        return Found("digits", []), _digits()
    path = Path(source).expanduser()
    if path.suffix.lower() in ARRAYS and path.is_file():
        found = Found("array", [], by_value=True)
        return found, _array(source, found, progress)
    if source.startswith(PREFIX) and must_stream(source):
        found, count, samples = find_stream(source)
        return found, _images(samples, count, progress)
    found = find_images(source, in_order=True)
    return found, _images(found.samples, len(found.samples), progress)


def _images(
    samples: Iterable[Sample], count: int, progress: Progress | None
) -> Iterator[Seen | Damaged]:
    """A look at each image, of which a thousand are at hand at a time."""
    samples, done = iter(samples), 0
    while some := {sample.name: sample for sample in islice(samples, _TOGETHER)}:
        files = {name: sample.file for name, sample in some.items()}
        with warnings_as_notes():
            for number, (name, glance) in enumerate(in_threads(_glance, files), 1):
                if progress is not None:
                    progress(done + number, count)
                if isinstance(glance, UnreadableImage):
                    yield name, str(glance)
                else:
                    sample = some[name]
                    yield Seen(name, sample.split, sample.label, *glance)
        done += len(some)


def _glance(file: File) -> tuple[tuple[int, ...], str, bytes, tuple[str, ...]]:
    picture = read_picture(file)
    conditions = {
        "more than 8 bits": picture.values.dtype != np.uint8,
        "turned": picture.is_turned,
        "several frames": ANIMATED in picture.notes,
        "transparent": TRANSPARENT in picture.notes,
        "constant": _is_constant(picture.values),
    }
    notes = [note for note, holds in conditions.items() if holds]
    notes += [note for note in picture.notes if note not in (ANIMATED, TRANSPARENT)]
    return picture.size, picture.kind, _digest(picture.values), tuple(notes)


def _array(source: str, found: Found, progress: Progress | None) -> Iterator[Seen | Damaged]:
    """A look at each sample of an `.npz` or `.npy` file."""
    tables, unused = read_tables(source)
    if unused:
        found.reasons.append(("not used", ", ".join(unused), "arrays with other keys"))
    labelled = any(table.labels is not None for table in tables.values())
    found.why_classes = "by the labels in the file" if labelled else "the file holds no labels"
    numbers = of_one_type({split: table.values for split, table in tables.items()})
    total, done = sum(map(len, numbers.values())), 0
    for split, table in tables.items():
        kind = str(table.values.dtype)
        for rows, piece in numbers[split].pieces():
            for position, sample in enumerate(piece, rows.start):
                name = f"{table.key}[{position}]"
                label = None if table.labels is None else str(table.labels[position])
                if np.isfinite(sample).all():
                    notes = ("constant",) if _is_constant(sample) else ()
                    yield Seen(name, split, label, sample.shape, kind, _digest(sample), notes)
                else:
                    yield name, "holds values that are NaN or infinite"
            done += len(piece)
            if progress is not None:
                progress(done, total)


def _digits() -> Iterator[Seen]:
    data = open_digits()
    assert data.classes is not None
    for split in data.splits.values():
        assert split.labels is not None
        images = split.read(torch.arange(len(split))).images.numpy()
        for name, image, label in zip(split.names, images, split.labels.tolist(), strict=True):
            label = data.classes[label]
            yield Seen(name, split.name, label, image.shape, "uint8", _digest(image))


def _is_constant(values: np.ndarray) -> bool:
    """Whether each channel has one value only."""
    flat = values.reshape(len(values), -1)
    return bool((flat == flat[:, :1]).all())


def _digest(values: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr((values.dtype.str, values.shape)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.digest()
