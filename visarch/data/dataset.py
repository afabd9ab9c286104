"""What a source of images becomes: splits of tensors, and an account of how they came about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from visarch.data.ondemand import Images, read, take
from visarch.data.preparation import Preparation
from visarch.data.splitting import spread

DIGESTED_IN_FULL = 2**28
"""Bytes of images up to which all of them enter a fingerprint."""
_DIGESTED_OF_MANY = 100


@dataclass
class Batch:
    """Some samples of a split: stored values (b, C, *spatial), labels (b,), context vectors (b, v)
    and where they lie."""

    images: Tensor
    labels: Tensor | None
    vectors: Tensor | None
    indices: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same samples on a device."""
        images = self.images.to(device, non_blocking=True)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        vectors = None if self.vectors is None else self.vectors.to(device, non_blocking=True)
        return Batch(images, labels, vectors, self.indices.to(device, non_blocking=True))


@dataclass
class Split:
    """Samples: images (n, C, *spatial), their names, and what is known of them: labels (n,) int64,
    context vectors (n, v) float32.

    Images are stored as uint8, as int32 where they have more than 256 levels, and as float32 on
    the unit scale where they are continuous; `to_unit` and `dequantize` read all three. Where they
    do not fit into memory they are decoded on demand, and only `read` gets at them.
    """

    name: str
    images: Images
    labels: Tensor | None
    names: Sequence[str]
    vectors: Tensor | None = None
    sizes: Tensor | None = None
    """Bytes of each encoded image (n,), which the fingerprint of a large set is made of."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sequential(self) -> bool:
        """Whether the images can only be read one after the other, as a stream of passes: indices
        then count from its beginning, and ascend."""
        return False

    @property
    def labelled(self) -> bool:
        """Whether `read` gives labels; of a stream's, unlike others', `labels` holds none."""
        return self.labels is not None

    def seeded(self, seed: int) -> Split:
        """The samples of a stream in the order of a seed; all others are read in any order."""
        return self

    @property
    def in_memory(self) -> bool:
        """Whether the images are held as one tensor."""
        return isinstance(self.images, Tensor)

    def read(self, indices: Tensor) -> Batch:
        """The samples at `indices` (b,), in that order; threads may call this at the same time.

        Raises:
            UserError: a file has vanished or turned out to be damaged.
        """
        images = read(self.images, indices)
        return Batch(images, _rows(self.labels, indices), _rows(self.vectors, indices), indices)

    def take(self, name: str, positions: Sequence[int]) -> Split:
        """A split made of some of these samples."""
        index = torch.tensor(positions, dtype=torch.int64)
        return Split(
            name,
            take(self.images, index),
            _rows(self.labels, index),
            [self.names[position] for position in positions],
            _rows(self.vectors, index),
            _rows(self.sizes, index),
        )

    def to(self, device: torch.device | str) -> Split:
        """The same samples, for good on a device, whose memory must hold them; `read` takes indices
        there or on the CPU.

        Raises:
            ValueError: the images are decoded on demand.
        """
        if not isinstance(self.images, Tensor):
            raise ValueError(f"the {self.name} images are decoded on demand; they stay on the CPU")
        labels = None if self.labels is None else self.labels.to(device)
        vectors = None if self.vectors is None else self.vectors.to(device)
        return replace(self, images=self.images.to(device), labels=labels, vectors=vectors)


def _rows(tensor: Tensor | None, indices: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[indices]


@dataclass
class Data:
    """An opened source: what training and evaluation read, and what `data.json` keeps of it."""

    source: str
    """What was asked for, as it was written."""
    kind: str
    """"digits", "folder", "csv", "array", "parquet" or "hub"."""
    shape: tuple[int, ...]
    """(C, *spatial) of every sample."""
    levels: int | None
    """Number of values a pixel can have; None where they are continuous."""
    splits: dict[str, Split]
    """"train", "validation" and, where there is one, "test"."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; a label is a position here."""
    reasons: list[tuple[str, str, str]] = field(default_factory=list)
    """(what, value, why) of everything that was inferred."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(file or sample, why) of everything that is not used."""
    integers: tuple[float, float] = Preparation.integers
    floats: tuple[float, float] = Preparation.floats
    vector_names: tuple[str, ...] | None = None
    """Names of the numbers in a context vector."""

    @property
    def preparation(self) -> Preparation:
        """How these samples were prepared; new ones are prepared alike."""
        return Preparation(self.shape, self.levels, self.integers, self.floats)

    @property
    def vector_scale(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation (v,) of the training vectors, by which a model may normalize
        them; the deviation of a number that never changes is given as 1."""
        vectors = self.splits["train"].vectors
        if vectors is None:
            return None
        deviation, mean = torch.std_mean(vectors.double(), 0, correction=0)
        return mean.float(), torch.where(deviation > 0, deviation, 1).float()

    def fingerprint(self) -> str:
        """SHA-256 of what training sees: equal where it is the same.

        Up to 256 MiB of images it is over every tensor, the classes and the scale, whatever the
        files are called. Beyond that, images enter by their names, the sizes of their files, and
        the pixels of 100 of each split, so that a set may be held in memory or on disk; streams
        enter by their lengths. Times and the place of the source do not enter.
        """
        digest = hashlib.sha256(repr((self.preparation, self.classes)).encode())
        if self.vector_names is not None:
            digest.update(repr(self.vector_names).encode())
        in_full = self._bytes() <= DIGESTED_IN_FULL and all(
            s.in_memory for s in self.splits.values()
        )
        for name, split in self.splits.items():
            if split.sequential:
                digest.update(repr((name, len(split))).encode())
                continue
            shown = range(len(split)) if in_full else spread(len(split), _DIGESTED_OF_MANY)
            if not in_full:
                digest.update(repr((name, list(split.names))).encode(errors="replace"))
            images = split.images if in_full else split.read(torch.tensor(shown)).images
            sizes = None if in_full else split.sizes
            for tensor in (images, split.labels, split.vectors, sizes):
                if tensor is not None:
                    assert isinstance(tensor, Tensor)
                    digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
                    digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _bytes(self) -> int:
        """What all images take when they are decoded."""
        return self.preparation.empty(1).nbytes * sum(map(len, self.splits.values()))

    def describe(self) -> dict[str, Any]:
        """All there is to know about the data short of its pixels, as JSON can hold it."""
        return {
            "source": self.source,
            "kind": self.kind,
            "preparation": self.preparation.to_dict(),
            "classes": None if self.classes is None else list(self.classes),
            "vectors": self._describe_vectors(),
            "fingerprint": self.fingerprint(),
            "reasons": [
                {"what": what, "value": value, "why": why} for what, value, why in self.reasons
            ],
            "skipped": [{"name": name, "why": why} for name, why in self.skipped],
            "splits": {name: self._describe(split) for name, split in self.splits.items()},
        }

    def _describe_vectors(self) -> dict[str, list[Any]] | None:
        if self.vector_names is None or self.vector_scale is None:
            return None
        mean, deviation = self.vector_scale
        names = list(self.vector_names)
        return {"names": names, "mean": mean.tolist(), "deviation": deviation.tolist()}

    def _describe(self, split: Split) -> dict[str, Any]:
        counts = None
        if self.classes is not None and split.labels is not None:
            numbers = torch.bincount(split.labels, minlength=len(self.classes)).tolist()
            counts = dict(zip(self.classes, numbers, strict=True))
        names = [] if split.sequential else list(split.names)
        return {"count": len(split), "classes": counts, "names": names}
