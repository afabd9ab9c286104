"""How a classifier from elsewhere expects images: files of weights do not say, configurations may.

timm puts a ``config.json`` beside its weights that tells size, mean and deviation; where there is
none, what a network of that stem was mostly trained with is assumed, and said.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visarch.data import Preparation
from visarch.errors import UserError
from visarch.models.config import ResNetConfig

Reason = tuple[str, str, str]

_Usual = tuple[int, tuple[float, ...], tuple[float, ...]]
_IMAGENET: _Usual = 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR: _Usual = 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CONFIG = "config.json"
_SOURCE = f"told by {_CONFIG} beside the weights"


@dataclass(frozen=True)
class Expectation:
    """Size and scale that images are brought to, and the names of the classes."""

    image_size: tuple[int, ...] | None = None
    """Height and width, or one number for both."""
    mean: tuple[float, ...] | None = None
    """Of each channel on the scale 0 … 1: it is subtracted."""
    deviation: tuple[float, ...] | None = None
    """Of each channel: what is left is divided by it."""
    class_names: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    """(C, H, W); settled from the size."""

    def settled(self, file: Path, config: ResNetConfig) -> tuple["Expectation", list[Reason]]:
        """With nothing left open, and the reason of whatever was not given.

        Raises:
            UserError: what is given, or told beside the file, does not fit the network.
        """
        told = _told_beside(file)
        large = config.stem == "large"
        size, mean, deviation = _IMAGENET if large else _CIFAR
        usual = f"usual for ImageNet's photographs, {size} pixels" if large else "those of CIFAR-10"
        if config.in_channels != 3:
            mean, deviation = (0.0,) * config.in_channels, (1.0,) * config.in_channels
            usual = f"nothing is usual for {config.in_channels} channels: left as they are"
        values: dict[str, Any] = {"image_size": (size,), "mean": mean, "deviation": deviation}
        reasons: list[Reason] = []
        settled = self
        for name, value in values.items():
            place, found = f"--{name.replace('_', '-')}", getattr(self, name)
            if found is None:
                place, found = f"{name} in {file.with_name(_CONFIG)}", told.get(name, value)
                why = _SOURCE if name in told else f"assumed: {usual}"
                reasons.append((name.replace("_", " "), _spelled(found), why))
            _check(name, found, f"{place} is {_spelled(found)}", config.in_channels)
            settled = replace(settled, **{name: tuple(found)})
        if settled.class_names is None and config.num_classes:
            numbers = tuple(map(str, range(config.num_classes)))
            settled = replace(settled, class_names=numbers)
            why = "no --class-names FILE was given"
            reasons.append(("class names", f"0 … {config.num_classes - 1}", why))
        names = settled.class_names
        if names is not None and len(names) != config.num_classes:
            raise UserError(
                f"--class-names has {len(names)} names, and the network tells "
                f"{config.num_classes or 'no'} classes apart."
            )
        height, *width = settled.image_size or ()
        return replace(settled, shape=(config.in_channels, height, *(width or [height]))), reasons

    def facts(self, file: Path) -> dict[str, Any]:
        """As task.json tells them."""
        assert self.shape is not None
        return {
            "task": "classifier",
            "source": None,
            "preparation": Preparation(self.shape, 256).to_dict(),
            "classes": None if self.class_names is None else list(self.class_names),
            "vector_names": None,
            "seed": 0,
            "settings": {"mean": list(self.mean or ()), "deviation": list(self.deviation or ())},
            "imported": file.name,
        }


def read_class_names(file: Path) -> tuple[str, ...]:
    """The names in a text file, one a line, in the order of the network's outputs.

    Raises:
        UserError: it cannot be read, or a line is empty or given twice.
    """
    try:
        names = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-names {file} cannot be read as text: {error}.") from error
    bad = [f"line {i}" for i, name in enumerate(names, 1) if not name or name in names[: i - 1]]
    if bad:
        raise UserError(
            f"--class-names {file}: {', '.join(bad[:5])} {'are' if len(bad) > 1 else 'is'} empty "
            "or repeats a name; each class needs its own."
        )
    return tuple(names)


def _told_beside(file: Path) -> dict[str, Any]:
    """What timm's config.json in the same folder tells; nothing where there is none of timm's."""
    try:
        told = json.loads(file.with_name(_CONFIG).read_text("utf-8"))["pretrained_cfg"]
        size, mean, deviation = told["input_size"][1:], told["mean"], told["std"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {"image_size": size, "mean": mean, "deviation": deviation}


def _check(name: str, values: Any, told: str, in_channels: int) -> None:
    """That there are as many numbers as are needed, and that images can be brought to them.

    Raises:
        UserError: there are not; `told` says what and where.
    """
    if name == "image_size":
        fits = _are_numbers(values) and len(values) in (1, 2)
        if not fits or not all(isinstance(side, int) and side >= 1 for side in values):
            raise UserError(f"{told}: give one number, or height and width, each at least 1.")
    elif not _are_numbers(values) or len(values) != in_channels:
        raise UserError(
            f"{told}: the network takes images of {in_channels} channels; give a number for each."
        )
    elif name == "deviation" and min(values) <= 0:
        raise UserError(f"{told}: images are divided by it; give numbers above 0.")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    )


def _spelled(values: Any) -> str:
    return (
        " ".join(f"{value:g}" for value in values)
        if values and _are_numbers(values)
        else f"{values}"
    )
