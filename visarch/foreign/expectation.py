"""How a classifier from elsewhere expects images: files of weights do not say, configurations may.

timm puts a ``config.json`` beside its weights that tells size, mean and deviation; where there is
none, what a network of that stem was mostly trained with is assumed, and said.
"""

import json
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
            UserError: what is given does not fit the network.
        """
        told, source = _told_beside(file)
        large = config.stem == "large"
        size, mean, deviation = _IMAGENET if large else _CIFAR
        usual = f"usual for ImageNet's photographs, {size} pixels" if large else "those of CIFAR-10"
        if config.in_channels != 3:
            mean, deviation = (0.0,) * config.in_channels, (1.0,) * config.in_channels
            usual = f"nothing is usual for {config.in_channels} channels: left as they are"
        values: dict[str, Any] = {"image_size": (size,), "mean": mean, "deviation": deviation}
        reasons = []
        settled = self
        for name, value in values.items():
            if getattr(self, name) is None:
                found = told.get(name, value)
                why = source if name in told else f"assumed: {usual}"
                settled = replace(settled, **{name: found})
                reasons.append((name.replace("_", " "), " ".join(f"{v:g}" for v in found), why))
        if settled.class_names is None and config.num_classes:
            numbers = tuple(map(str, range(config.num_classes)))
            settled = replace(settled, class_names=numbers)
            why = "no --class-names FILE was given"
            reasons.append(("class names", f"0 … {config.num_classes - 1}", why))
        settled = replace(settled, shape=_shape(settled.image_size, config))
        _check(settled, config)
        return settled, reasons

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


def _told_beside(file: Path) -> tuple[dict[str, tuple[float, ...]], str]:
    """What timm's config.json in the same folder tells, and how to call it."""
    config = file.parent / "config.json"
    try:
        told = json.loads(config.read_text("utf-8"))["pretrained_cfg"]
        found = {"image_size": tuple(told["input_size"][1:])}
        found |= {
            ours: tuple(told[theirs]) for ours, theirs in (("mean", "mean"), ("deviation", "std"))
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}, ""
    return found, f"told by {config.name} beside the weights"


def _shape(size: tuple[int, ...] | None, config: ResNetConfig) -> tuple[int, ...]:
    sides = (size or ()) * (2 if len(size or ()) == 1 else 1)
    if len(sides) != 2 or min(sides) < 1:
        raise UserError(
            f"--image-size {' '.join(map(str, size or ()))}: give one number, or height and width, "
            "each at least 1."
        )
    return config.in_channels, *sides


def _check(settled: Expectation, config: ResNetConfig) -> None:
    for name in ("mean", "deviation"):
        values = getattr(settled, name)
        if len(values) != config.in_channels or (name == "deviation" and min(values) <= 0):
            raise UserError(
                f"--{name} {' '.join(f'{value:g}' for value in values)}: the network takes images "
                f"of {config.in_channels} channels; give a number for each"
                + (", above 0." if name == "deviation" else ".")
            )
    names = settled.class_names
    if names is not None and len(names) != config.num_classes:
        raise UserError(
            f"--class-names has {len(names)} names, and the network tells "
            f"{config.num_classes or 'no'} classes apart."
        )
