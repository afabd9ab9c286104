"""What a source of images becomes: splits of tensors, and an account of how they came about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from visarch.data.preparation import Preparation


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
    """Samples held in memory: images (n, C, *spatial), their names, and what is known of them:
    labels (n,) int64, context vectors (n, v) float32.

    Images are stored as uint8, as int32 where they have more than 256 levels, and as float32 on
    the unit scale where they are continuous; `to_unit` and `dequantize` read all three.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    names: list[str]
    vectors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Tensor) -> Batch:
        """The samples at `indices` (b,), in that order."""
        labels = None if self.labels is None else self.labels[indices]
        vectors = None if self.vectors is None else self.vectors[indices]
        return Batch(self.images[indices], labels, vectors, indices)

    def take(self, name: str, positions: Sequence[int]) -> Split:
        """A split made of some of these samples."""
        batch = self.read(torch.tensor(positions, dtype=torch.int64))
        names = [self.names[position] for position in positions]
        return Split(name, batch.images, batch.labels, names, batch.vectors)


@dataclass
class Data:
    """An opened source: what training and evaluation read, and what `data.json` keeps of it."""

    source: str
    """What was asked for, as it was written."""
    kind: str
    """"digits", "folder" or "array"."""
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
        """SHA-256 over every tensor, the classes and the scale: equal where training is the same.

        File names, times and the place of the source do not enter.
        """
        digest = hashlib.sha256(repr((self.preparation, self.classes)).encode())
        if self.vector_names is not None:
            digest.update(repr(self.vector_names).encode())
        for name, split in self.splits.items():
            for tensor in (split.images, split.labels, split.vectors):
                if tensor is not None:
                    digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
                    digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

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
        return {"count": len(split), "classes": counts, "names": list(split.names)}
