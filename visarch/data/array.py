"""Arrays in `.npz` and `.npy` files, of any number of channels, in 1-d, 2-d and 3-d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from visarch.data.dataset import Data, Split
from visarch.data.preparation import Preparation, spatial_size, times
from visarch.data.splitting import hold_out
from visarch.data.table import Table, read_tables
from visarch.data.values import levels_for
from visarch.errors import UserError

Reason = tuple[str, str, str]


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

    Raises:
        UserError: the file, its keys, types or shapes cannot be used, or it is unclear how.
    """
    tables, unused = read_tables(source, None if like is None else like.ndim)
    numbers = _of_one_type({split: table.values for split, table in tables.items()})
    finite = {
        split: np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        for split, values in numbers.items()
    }
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
    skipped: list[tuple[str, str]] = []
    classes, labels = _classes(tables)
    for split, table in tables.items():
        part = split or "train"
        samples, problems = _prepare(table.key, numbers[split], finite[split], preparation)
        if not samples:
            name, why = problems[0]
            raise UserError(f"None of the samples in {source!r} can be used: {name} {why}.")
        skipped += problems
        positions = list(samples)
        splits[part] = Split(
            part,
            torch.stack(list(samples.values())),
            labels[split][positions] if split in labels else None,
            [_name(table.key, position) for position in positions],
        )
    if "validation" not in splits:
        rest = splits.pop("train")
        targets = None if rest.labels is None else rest.labels.tolist()
        train, validation, reason = hold_out(rest.names, targets)
        held_out = {"train": rest.take("train", train)}
        splits = held_out | {"validation": rest.take("validation", validation)} | splits
        reasons.append(reason)
    if unused:
        reasons.append(("other arrays", ", ".join(unused), "not used"))
    return Data(
        source=source,
        kind="array",
        **vars(preparation),
        splits=splits,
        classes=classes,
        reasons=reasons,
        skipped=skipped,
    )


def _prepare(
    key: str, values: np.ndarray, finite: np.ndarray, preparation: Preparation
) -> tuple[dict[int, torch.Tensor], list[tuple[str, str]]]:
    """The samples that can be used, by position, and why the others cannot."""
    samples: dict[int, torch.Tensor] = {}
    problems = []
    for position, sample in enumerate(values):
        try:
            if not finite[position]:
                raise ValueError("holds values that are NaN or infinite")
            samples[position] = preparation.apply(sample)
        except ValueError as error:
            problems.append((_name(key, position), str(error)))
    return samples, problems


def _name(key: str, position: int) -> str:
    return f"{key}[{position}]"


def _of_one_type(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All arrays as uint8, as int32 (0 … 65535), or as floats."""
    kind = np.result_type(*arrays.values())
    if kind == np.bool_:
        return {split: values.astype(np.uint8) * 255 for split, values in arrays.items()}
    if kind.kind in "iu" and kind != np.uint8:
        lowest = min(values.min() for values in arrays.values())
        highest = max(values.max() for values in arrays.values())
        kind = np.dtype(np.int32 if lowest >= 0 and highest <= 65535 else np.float64)
    return {split: values.astype(kind, copy=False) for split, values in arrays.items()}


def _infer_preparation(
    numbers: Mapping[str, np.ndarray],
    finite: Mapping[str, np.ndarray],
    image_size: int | tuple[int, ...] | None,
    channels: int | None,
    source: str,
) -> tuple[Preparation, list[Reason]]:
    """Shape and scale of the samples, but for what is asked for, and the reasons."""
    shapes = {values.shape[1:] for values in numbers.values()}
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
        largest = max(int(values.max()) for values in numbers.values())
        depth = levels_for(largest)
        why = f"integers of which the largest is {largest}"
        integers = (-0.5, depth - 0.5)
        return Preparation(shape, depth, integers), [*reasons, ("levels", str(depth), why)]
    usable = {split: values[finite[split]] for split, values in numbers.items()}
    levels, floats, why = _infer_float_scale(usable, source)
    name = "continuous" if levels is None else str(levels)
    return Preparation(shape, levels, floats=floats), [*reasons, ("levels", name, why)]


def _infer_float_scale(
    usable: Mapping[str, np.ndarray], source: str
) -> tuple[int | None, tuple[float, float], str]:
    """Levels, what is placed on 0 and 1, and why, for floating-point numbers."""
    lowest = min(float(values.min()) for values in usable.values())
    highest = max(float(values.max()) for values in usable.values())
    if lowest >= 0 and highest <= 1:
        if all(_are_whole(values, 255) for values in usable.values()):
            why = "every value is a multiple of 1/255, as 8-bit images divided by 255 are"
            return 256, (-0.5 / 255, 255.5 / 255), why
        return None, (0.0, 1.0), "floating-point values within [0, 1], used as they are"
    if lowest >= 0 and highest <= 65535 and all(_are_whole(v, 1) for v in usable.values()):
        levels = levels_for(highest)
        return levels, (-0.5, levels - 0.5), f"whole numbers of which the largest is {highest:g}"
    train = usable.get("train", usable.get(""))
    assert train is not None
    low, high = float(train.min()), float(train.max())
    if low == high:
        raise UserError(
            f"Every training sample in {source!r} is {low:g} throughout; there is nothing to learn."
        )
    why = (
        f"floating-point values, rescaled so that the training samples' smallest, {low:g}, becomes "
        f"0 and their largest, {high:g}, becomes 1"
    )
    return None, (low, high), why


def _are_whole(values: np.ndarray, factor: int) -> bool:
    """Whether all values become whole numbers when multiplied, up to rounding of their type."""
    scaled = values.astype(np.float64) * factor
    tolerance = factor * float(np.finfo(values.dtype).eps)
    return bool((np.abs(scaled - np.rint(scaled)) <= tolerance).all())


def _classes(
    tables: Mapping[str, Table],
) -> tuple[tuple[str, ...] | None, dict[str, torch.Tensor]]:
    """Class names, in order, over all splits; and each labelled split's labels as positions."""
    labels = {split: table.labels for split, table in tables.items() if table.labels is not None}
    if not labels:
        return None, {}
    classes = np.unique(np.concatenate(list(labels.values())))
    positions = {
        split: torch.from_numpy(np.searchsorted(classes, values)).long()
        for split, values in labels.items()
    }
    return tuple(map(str, classes)), positions
