"""Which images a classifier sees as most like another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from visarch.data import Split
from visarch.data.reading import Progress
from visarch.inference.classifier import embed
from visarch.inference.splits import representatives
from visarch.models.resnet import ResNet


class Neighbor(NamedTuple):
    """One of the images that were searched."""

    position: int
    """In the split of the index."""
    similarity: float
    """Cosine of the angle between both features."""


@dataclass(frozen=True)
class Index:
    """Images, and the directions of their features."""

    split: Split
    directions: Tensor
    """(n, d), each of length 1."""

    def nearest(self, features: Tensor, count: int) -> list[Neighbor]:
        """The images whose features point most nearly where these do, the nearest first.

        Shapes: features (d,).
        """
        similarity = self.directions @ functional.normalize(features, dim=0)
        best = similarity.topk(min(count, len(similarity)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Neighbor(position, value) for position, value in pairs]


def build_index(
    model: ResNet,
    split: Split,
    levels: int | None,
    most: int,
    *,
    progress: Progress = lambda done, total: None,
) -> Index:
    """The images of a split, or so many that stand for all, to be searched by their features.

    ``progress`` is called with (images embedded, images there are to embed).
    """
    if len(split) > most:
        split = split.take(split.name, representatives(len(split), most))
    return Index(split, functional.normalize(embed(model, split, levels, progress=progress), dim=1))
