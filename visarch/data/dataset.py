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
    """Some samples of a split: stored values (b, C, *spatial), labels (b,) and where they lie."""

    images: Tensor
    labels: Tensor | None
    indices: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same samples on a device."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        images = self.images.to(device, non_blocking=True)
        return Batch(images, labels, self.indices.to(device, non_blocking=True))


@dataclass
class Split:
    """Samples held in memory: images (n, C, *spatial), labels (n,) int64 if known, and their names.

    Images are stored as uint8, as int32 where they have more than 256 levels, and as float32 on
    the unit scale where they are continuous; `to_unit` and `dequantize` read all three.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Tensor) -> Batch:
        """The samples at `indices` (b,), in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Batch(self.images[indices], labels, indices)

    def take(self, name: str, positions: Sequence[int]) -> Split:
        """A split made of some of these samples."""
        batch = self.read(torch.tensor(positions, dtype=torch.int64))
        return Split(name, batch.images, batch.labels, [self.names[i] for i in positions])


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

    @property
    def preparation(self) -> Preparation:
        """How these samples were prepared; new ones are prepared alike."""
        return Preparation(self.shape, self.levels, self.integers, self.floats)

    def fingerprint(self) -> str:
        """SHA-256 over every tensor, the classes and the scale: equal where training is the same.

        File names, times and the place of the source do not enter.
        """
        digest = hashlib.sha256(repr((self.preparation, self.classes)).encode())
        for name, split in self.splits.items():
            for tensor in (split.images, split.labels):
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
            "fingerprint": self.fingerprint(),
            "reasons": [
                {"what": what, "value": value, "why": why} for what, value, why in self.reasons
            ],
            "skipped": [{"name": name, "why": why} for name, why in self.skipped],
            "splits": {name: self._describe(split) for name, split in self.splits.items()},
        }

    def _describe(self, split: Split) -> dict[str, Any]:
        counts = None
        if self.classes is not None and split.labels is not None:
            numbers = torch.bincount(split.labels, minlength=len(self.classes)).tolist()
            counts = dict(zip(self.classes, numbers, strict=True))
        return {"count": len(split), "classes": counts, "names": list(split.names)}
