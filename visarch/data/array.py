"""Arrays in `.npz` and `.npy` files, of any number of channels, in 1-d, 2-d and 3-d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visarch.data.classes import Classes, number_classes
from visarch.data.dataset import Data, Split
from visarch.data.found import Reason
from visarch.data.numbers import Numbers, of_one_type
from visarch.data.ondemand import Images
from visarch.data.preparation import Preparation, spatial_size, times
from visarch.data.splitting import hold_out
from visarch.data.table import Table, read_tables
from visarch.data.values import levels_for
from visarch.errors import UserError


def open_array(
    source: str,
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
    known: Sequence[str] | None = None,
) -> Data:
    """The samples of a file; `visarch.data.table` says which keys and axes it may have.

    Booleans are stored as 0 and 255. Integers have as many levels as their largest value needs.
    Floating-point numbers stay as they are within [0, 1] and are otherwise rescaled so that the
    training samples just fill it; nothing is clipped. Samples that are not finite are skipped.
    `known` are the classes of a model, by which labels are numbered.

    Raises:
        UserError: the file, its keys, types or shapes cannot be used, or it is unclear how.
    """
    tables, unused = read_tables(source, None if like is None else like.ndim)
    numbers = of_one_type({split: table.values for split, table in tables.items()})
    finite = {split: own.finite() for split, own in numbers.items()}
    for split, mask in finite.items():
        if not mask.any():
            raise UserError(
                f"Each of the {len(mask)} samples under {tables[split].key} in {source!r} holds "
                "values that are NaN or infinite; at least one must be finite."
            )
    reasons: list[Reason] = [("axes", table.key, table.layout) for table in tables.values()]
    if like is None:
        preparation, inferred = _infer_preparation(numbers, finite, image_size, channels, source)
        reasons += inferred
    else:
        preparation = like
        reasons.append(("shape", times(like.shape), "what the model was trained on"))

    splits: dict[str, Split] = {}
    skipped: dict[str, str] = {}
    classes = _classes(tables, known, source)
    for split, table in tables.items():
        part = split or "train"
        names = [f"{table.key}[{position}]" for position in range(len(table.values))]
        images, problems = _prepare(names, numbers[split], finite[split], preparation)
        skipped |= problems
        skipped |= {name: classes.left_out[name] for name in names if name in classes.left_out}
        positions = [place for place, name in enumerate(names) if name not in skipped]
        if not positions:
            first = f"{names[0]} {skipped[names[0]]}"
            raise UserError(f"None of the samples in {source!r} can be used: {first}.")
        targets = [classes.numbers[name] for name in names if name in classes.numbers]
        labels = [classes.numbers.get(name, -1) for name in names] if targets else None
        whole = Split(
            part,
            images,
            None if labels is None else torch.tensor(labels),
            names,
            None if table.vectors is None else torch.from_numpy(table.vectors),
        )
        splits[part] = whole if len(positions) == len(names) else whole.take(part, positions)
    if "validation" not in splits:
        rest = splits.pop("train")
        train, validation, reason = hold_out(
            rest.names, None if rest.labels is None else rest.labels.tolist()
        )
        held_out = {"train": rest.take("train", train)}
        splits = held_out | {"validation": rest.take("validation", validation)} | splits
        reasons.append(reason)
    if not all(own.in_memory for own in numbers.values()):
        reasons.append(("held", "on disk", "too large for the memory: read when needed"))
    if unused:
        reasons.append(("other arrays", ", ".join(unused), "not used"))
    vectors = next(iter(tables.values())).vectors
    width = 0 if vectors is None else vectors.shape[1]
    return Data(
        source=source,
        kind="array",
        **vars(preparation),
        splits=splits,
        classes=classes.names,
        reasons=[*reasons, *classes.reasons],
        skipped=list(skipped.items()),
        vector_names=tuple(f"v{number}" for number in range(1, width + 1)) or None,
    )


@dataclass(frozen=True)
class Rows:
    """Samples in a file, each brought to one shape and scale when it is asked for."""

    numbers: Numbers
    preparation: Preparation

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, indices: Tensor) -> Tensor:
        """The samples at `indices` (b,)."""
        samples = self.preparation.empty(len(indices))
        for place, position in enumerate(indices.tolist()):
            samples[place] = self.preparation.apply(self.numbers[position])
        return samples


def _prepare(
    names: Sequence[str], numbers: Numbers, finite: np.ndarray, preparation: Preparation
) -> tuple[Images, dict[str, str]]:
    """The samples as they are stored, and why some cannot be used: their rows mean nothing."""
    samples = preparation.empty(len(numbers)) if numbers.in_memory else None
    problems = {}
    for rows, piece in numbers.pieces():
        for position, sample in enumerate(piece, rows.start):
            try:
                if not finite[position]:
                    raise ValueError("holds values that are NaN or infinite")
                prepared = preparation.apply(sample)
            except ValueError as error:
                problems[names[position]] = str(error)
                continue
            if samples is not None:
                samples[position] = prepared
    return Rows(numbers, preparation) if samples is None else samples, problems


def _infer_preparation(
    numbers: Mapping[str, Numbers],
    finite: Mapping[str, np.ndarray],
    image_size: int | tuple[int, ...] | None,
    channels: int | None,
    source: str,
) -> tuple[Preparation, list[Reason]]:
    """Shape and scale of the samples, but for what is asked for, and the reasons."""
    shapes = {own.values.shape[1:] for own in numbers.values()}
    if len(shapes) > 1:
        listed = " and ".join(map(times, sorted(shapes)))
        raise UserError(f"The splits in {source!r} have samples of {listed}; give them one shape.")
    (own,) = shapes
    size = own[1:] if image_size is None else spatial_size(image_size, len(own) - 1)
    shape = (channels or own[0], *size)
    reasons = []
    if shape != own:
        reasons.append(("shape", times(shape), f"as asked for; the samples have {times(own)}"))

    kind = next(iter(numbers.values())).dtype
    if kind == np.uint8:
        return Preparation(shape, 256), [*reasons, ("levels", "256", "8-bit values or booleans")]
    if kind.kind == "i":
        largest = max(int(own.range(finite[split])[1]) for split, own in numbers.items())
        depth = levels_for(largest)
        why = f"integers of which the largest is {largest}"
        integers = (-0.5, depth - 0.5)
        return Preparation(shape, depth, integers), [*reasons, ("levels", str(depth), why)]
    levels, floats, why = _infer_float_scale(numbers, finite, source)
    name = "continuous" if levels is None else str(levels)
    return Preparation(shape, levels, floats=floats), [*reasons, ("levels", name, why)]


def _infer_float_scale(
    numbers: Mapping[str, Numbers], finite: Mapping[str, np.ndarray], source: str
) -> tuple[int | None, tuple[float, float], str]:
    """Levels, what is placed on 0 and 1, and why, for floating-point numbers."""
    ranges = {split: own.range(finite[split]) for split, own in numbers.items()}
    lowest = min(low for low, _ in ranges.values())
    highest = max(high for _, high in ranges.values())

    def all_whole(factor: int) -> bool:
        return all(own.are_whole(finite[split], factor) for split, own in numbers.items())

    if lowest >= 0 and highest <= 1:
        if all_whole(255):
            why = "every value is a multiple of 1/255, as 8-bit images divided by 255 are"
            return 256, (-0.5 / 255, 255.5 / 255), why
        return None, (0.0, 1.0), "floating-point values within [0, 1], used as they are"
    if lowest >= 0 and highest <= 65535 and all_whole(1):
        levels = levels_for(highest)
        return levels, (-0.5, levels - 0.5), f"whole numbers of which the largest is {highest:g}"
    low, high = ranges["train" if "train" in ranges else ""]
    if low == high:
        raise UserError(
            f"Every training sample in {source!r} is {low:g} throughout; there is nothing to learn."
        )
    why = (
        f"floating-point values, rescaled so that the training samples' smallest, {low:g}, becomes "
        f"0 and their largest, {high:g}, becomes 1"
    )
    return None, (low, high), why


def _classes(tables: Mapping[str, Table], known: Sequence[str] | None, source: str) -> Classes:
    """The classes of all samples, used or not."""
    labels: dict[str, dict[str, str | None]] = {}
    for split, table in tables.items():
        own = [None] * len(table.values) if table.labels is None else table.labels.tolist()
        labels[split] = {
            f"{table.key}[{position}]": None if label is None else str(label)
            for position, label in enumerate(own)
        }
    kinds = {table.labels.dtype.kind for table in tables.values() if table.labels is not None}
    why = "by the labels in the file" if kinds else "the file holds no labels"
    return number_classes(
        labels, listed=known, by_value=not kinds & set("U"), why=why, source=source
    )
