"""Images that are not held in memory: what every such kind can do, and some or several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class OnDemand(Protocol):
    """Images that are decoded when they are read, by any thread and in any order."""

    def __len__(self) -> int: ...

    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (b,): (b, C, *spatial), as a tensor of all of them holds them."""


Images = Tensor | OnDemand


@dataclass(frozen=True)
class Taken:
    """Some of the images of a whole."""

    whole: OnDemand
    positions: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (b,)."""
        return self.whole.read(self.positions[indices])


@dataclass(frozen=True)
class Joined:
    """The images of several splits, one after the other."""

    parts: Sequence[Images]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (b,)."""
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"{indices.tolist()} are not all among {len(self)} images")
        ends = torch.tensor([len(part) for part in self.parts]).cumsum(0)
        owners = torch.bucketize(indices, ends, right=True)
        images = read(self.parts[0], indices[:0])
        images = images.new_empty(len(indices), *images.shape[1:])
        for owner in owners.unique().tolist():
            part, own = self.parts[owner], owners == owner
            images[own] = read(part, indices[own] - (ends[owner] - len(part)))
        return images


def read(images: Images, indices: Tensor) -> Tensor:
    """The images at `indices` (b,), whether they are in memory or not."""
    return images[indices] if isinstance(images, Tensor) else images.read(indices)


def take(images: Images, positions: Tensor) -> Images:
    """Some of the images: a tensor if they are one."""
    if isinstance(images, Tensor):
        return images[positions]
    if isinstance(images, Taken):
        return Taken(images.whole, images.positions[positions])
    return Taken(images, positions)


def join(parts: Sequence[Images]) -> Images:
    """The images of several splits, one after the other: a tensor if all of them are."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(tensors) if len(tensors) == len(parts) else Joined(parts)
