"""Which samples of its data a finished model is shown."""

import torch

from visarch.data import Data, Split
from visarch.data.ondemand import join
from visarch.data.splitting import representatives, spread

__all__ = ["every_sample", "first_image", "held_out", "representatives", "spread"]


def held_out(data: Data) -> Split:
    """What the model was not trained on: the test split, or validation where there is none."""
    return data.splits.get("test") or data.splits["validation"]


def first_image(split: Split) -> torch.Tensor:
    """The first image of a split, as it holds it: (1, C, *spatial)."""
    return split.read(torch.zeros(1, dtype=torch.int64)).images


def every_sample(data: Data) -> tuple[Split, list[str]]:
    """All splits in one, and the name of the split that each sample belongs to.

    Where only some of the splits have labels, the label of the others' samples is −1. A sample that
    stands in two splits, as the only one of its source does, is taken once.
    """
    splits = list(data.splits.values())
    names = [name for split in splits for name in split.names]
    origins = [split.name for split in splits for _ in split.names]
    labels = None
    if any(split.labels is not None for split in splits):
        labels = torch.cat([_labels(split) for split in splits])
    vectors = [split.vectors for split in splits if split.vectors is not None]
    joined = Split(
        "all",
        join([split.images for split in splits]),
        labels,
        names,
        torch.cat(vectors) if len(vectors) == len(splits) else None,
    )

    first: dict[str, int] = {}
    for position, name in enumerate(names):
        first.setdefault(name, position)
    if len(first) == len(names):
        return joined, origins
    return joined.take("all", list(first.values())), [origins[i] for i in first.values()]


def _labels(split: Split) -> torch.Tensor:
    return torch.full((len(split),), -1) if split.labels is None else split.labels
