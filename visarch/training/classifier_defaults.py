"""What the settings of a classifier leave open, settled by its data, each with the reason."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from visarch.data import Data
from visarch.data.preparation import times
from visarch.errors import UserError
from visarch.hub import load
from visarch.models.config import ResNetConfig
from visarch.models.resnet import ResNet
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.config import spelled, with_preset
from visarch.training.devices import processes
from visarch.training.launch import with_length
from visarch.training.resume import settings_of_begun

_EPOCHS = {"small": 15.5, "resnet50": 60}
"""Passes over the images at their full size; of smaller ones there are more, in the same time."""
SMALL_SIDE = 0.75
"""The side of images that are seen small first, of their own."""
_OF_A_NETWORK = ("block", "depths", "widths", "stem")
_FEW_IMAGES = 20_000
"""Training images below which hiding parts of them pays."""
_SMALL_FIRST, _SMALL_FIRST_SIDE = 0.65, 32
"""The share of a training in which images are small first, and the side from which on they are."""
_LARGE_SIDE = 64
_ALPHABET = 10
"""Classes of color images from which on their short names are taken for those of characters."""
_UNEQUAL = 10
_REFERENCE_BATCH = 128
_LEARNING_RATES = {"adamw": 2e-3, "sgd": 0.1}
_SHALLOW_RATE = 0.4
"""SGD's learning rate for the small network, whose gradients pass through few layers."""
_WEIGHT_DECAYS = {"sgd": 5e-4, "adamw": 0.05}
_CLIPS = {
    "adamw": (1.0, "for adamw"),
    "sgd": (0.0, "never: for sgd, whose learning rate alone sets how far it goes"),
}


class Kind(NamedTuple):
    """What images show, as far as it decides how they may be changed."""

    name: str
    why: str
    flip: bool
    shares: int
    """The side is this many times as long as the way they may be moved."""


def check_classes(data: Data) -> tuple[str, ...]:
    """The classes, if there is something to learn about them; remarks on what makes that hard.

    Raises:
        UserError: there are no labels, or a single class.
    """
    train = data.splits["train"]
    if data.classes is None or not train.labelled:
        raise UserError(
            f"The training images in {data.source!r} have no labels, and a classifier learns from "
            "labels: sort the images into a sub-folder for each class, list them in a CSV file "
            "with the columns file,label, or put an array `labels` beside the images of an .npz. "
            "Without labels, `visarch train vae` and `visarch train diffusion` can learn from them."
        )
    if len(data.classes) < 2:
        raise UserError(
            f"All images in {data.source!r} are of one class, {data.classes[0]!r}: a classifier "
            "needs two at least to tell apart."
        )
    if train.labels is None:  # those of a stream are known when they are read
        return data.classes
    counts = train.labels.bincount(minlength=len(data.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= _UNEQUAL * counts[least]:
        sizes = (
            f"{counts[most]:,} images of {data.classes[most]}, {counts[least]:,} of "
            f"{data.classes[least]}"
        )
        why = "accuracy speaks for the large classes; the balanced accuracy counts all alike"
        data.reasons.append(("class sizes", sizes, why))
    return data.classes


def settle(config: ClassifierTrainConfig, data: Data) -> ClassifierTrainConfig:
    """The settings with nothing left open; adds the reasons to those of the data.

    What is settled already stays, so that settings that come from a run stay what they were.

    Raises:
        UserError: some settings do not fit the data, or each other.
    """
    config = _network(config, data)
    config = _optimization(config, data)
    config = _augmentation(config, data)
    _check(config, data)
    count = len(data.splits["train"])
    epoch = count / config.batch_size
    epochs = _EPOCHS[config.preset or "small"]
    cost = 1 - (config.small_first or 0.0) * (1 - SMALL_SIDE**2)
    steps = max(epochs / cost * epoch, min(500, 100 * epoch), 200)
    return with_length(config, data, math.ceil(steps))


def _network(config: ClassifierTrainConfig, data: Data) -> ClassifierTrainConfig:
    """With the network of the weights to start from, or else of a preset."""
    if config.init is not None:
        config = _network_of(config.init, config, data)
    if config.preset is None:
        device = processes(config).device
        preset = "small" if device.type == "cpu" else "resnet50"
        why = f"this trains on {device}" + ("" if preset == "resnet50" else ", where it is fast")
        config = replace(config, preset=preset)  # type: ignore[arg-type]
        config, reasons = with_preset(config)
        if reasons:
            data.reasons += [("preset", preset, why), *reasons]
    if config.model.stem is None:
        side = min(data.shape[1:])
        stem = "small" if side <= _LARGE_SIDE else "large"
        why = f"the shortest side is {'at most' if stem == 'small' else 'above'} {_LARGE_SIDE}"
        config = replace(config, model=replace(config.model, stem=stem))  # type: ignore[arg-type]
        data.reasons.append(("stem", stem, why))
    return config


def _network_of(source: str, config: ClassifierTrainConfig, data: Data) -> ClassifierTrainConfig:
    """With the network of a trained model, where the settings do not say otherwise; of a run that
    has begun with it, with its own, whatever has become of that model."""
    missing = [name for name in _OF_A_NETWORK if getattr(config.model, name) is None]
    if not missing:
        return config
    begun = settings_of_begun(config)
    network = _network_to_start_from(source) if begun is None else begun.model
    changed = {}
    for name in missing:
        changed[name] = getattr(network, name)
        data.reasons.append((name, spelled(changed[name]), f"that of {source}"))
    return replace(config, model=replace(config.model, **changed))


def _network_to_start_from(source: str) -> ResNetConfig:
    model = load(source)
    if not isinstance(model, ResNet):
        raise UserError(
            f"--init {source} holds a {type(model).__name__}, and this trains a ResNet."
        )
    return model.config


def _optimization(config: ClassifierTrainConfig, data: Data) -> ClassifierTrainConfig:
    if config.learning_rate is None:
        ratio = config.batch_size / _REFERENCE_BATCH
        scale = ratio if config.optimizer == "sgd" else math.sqrt(ratio)
        rate = _LEARNING_RATES[config.optimizer] * scale
        why = f"for {config.optimizer} and {config.batch_size} images per step"
        if config.optimizer == "sgd" and config.preset == "small":
            rate, why = _SHALLOW_RATE * scale, f"{why}, in a network of few layers"
        if config.init is not None:
            rate, why = rate / 10, f"{why}, a tenth because it starts from trained weights"
        rate = float(f"{rate:.3g}")
        config = replace(config, learning_rate=rate)
        data.reasons.append(("learning rate", f"{rate:g}", why))
    if config.weight_decay is None:
        decay = _WEIGHT_DECAYS[config.optimizer]
        config = replace(config, weight_decay=decay)
        data.reasons.append(("weight decay", f"{decay:g}", f"for {config.optimizer}"))
    if config.clip is None:
        clip, why = _CLIPS[config.optimizer]
        config = replace(config, clip=clip)
        data.reasons.append(("clip", f"{clip:g}", why))
    return config


def _augmentation(config: ClassifierTrainConfig, data: Data) -> ClassifierTrainConfig:
    kind = kind_of(data)
    side, count = min(data.shape[1:]), len(data.splits["train"])
    characters = kind.name == "characters"
    inferred: dict[str, tuple[object, str]] = {
        "crop": (side // kind.shares, f"pixels each way, of {times(data.shape[1:])}"),
        "rotate": (10.0 if characters else 0.0, f"degrees: {kind.why}"),
        "zoom": (0.1 if characters else 0.0, kind.why),
        "cutout": (0, kind.why),
    }
    if kind.name == "photographs":
        few = count < _FEW_IMAGES
        why = f"{count:,} training images are {'few' if few else 'many'}"
        inferred["cutout"] = (side // 4 if few else 0, why)
        if not few:
            inferred["crop"] = (side // 16, f"{inferred['crop'][1]}; {why}")
        inferred["small_first"] = (_SMALL_FIRST, why)
        if few or config.preset != "small" or config.time is not None or side < _SMALL_FIRST_SIDE:
            inferred["small_first"] = (0.0, why)
    else:
        inferred["small_first"] = (0.0, kind.why)
    if config.randaugment:
        inferred["magnitude"] = (5.0, "of RandAugment, from 0 to 10")
    changed: dict[str, object] = {}
    if config.flip == "auto":
        changed["flip"] = "yes" if kind.flip else "no"
        data.reasons.append(("flip", str(changed["flip"]), kind.why))
    for name, (value, why) in inferred.items():
        if getattr(config, name) is None:
            changed[name] = value
            if value:
                data.reasons.append((name.replace("_", " "), f"{value:g}", why))
    return replace(config, **changed)  # type: ignore[arg-type]


def kind_of(data: Data) -> Kind:
    """What the images show, by their axes, channels and the names of their classes."""
    ndim = len(data.shape) - 1
    if ndim != 2:
        name = {1: "signals", 3: "volumes"}[ndim]
        return Kind(name, f"these are {name}, whose sides may differ", flip=False, shares=16)
    names = data.classes or ()
    called_so = bool(names) and all(len(name) == 1 or name.isdecimal() for name in names)
    if called_so and (data.shape[0] != 3 or len(names) >= _ALPHABET):
        why = f"the classes are called {', '.join(names[:3])} …, as characters are"
        return Kind("characters", why, flip=False, shares=14)
    if data.shape[0] == 3:
        return Kind("photographs", "these are color images", flip=True, shares=8)
    why = "in images that are not in color, left and right may differ"
    return Kind("gray images", why, flip=False, shares=12)


def _check(config: ClassifierTrainConfig, data: Data) -> None:
    """What cannot be done to these samples, or by so many processes."""
    ndim = len(data.shape) - 1
    assert config.model.widths is not None
    stride = 2 ** (len(config.model.widths) - 1) * (4 if config.model.stem == "large" else 1)
    if max(data.shape[1:]) <= stride:
        for what, number in (
            ("--batch-size is 1", config.batch_size),
            ("There is 1 training image", len(data.splits["train"])),
        ):
            if number == 1:
                raise UserError(
                    f"{what}, and of an image of {times(data.shape[1:])} the last stack leaves one "
                    "pixel: BatchNorm cannot tell how a single value varies. Take 2 or more."
                )
    for name in ("crop", "cutout"):
        pixels = getattr(config, name)
        if pixels and pixels >= max(data.shape[1:]):
            raise UserError(
                f"--{name} is {pixels}, and the images are {times(data.shape[1:])}: nothing of "
                "them would be left to see."
            )
    if config.randaugment and ndim != 2:
        raise UserError(
            f"--randaugment {config.randaugment} is for images, and {data.source!r} holds samples "
            f"of {times(data.shape)}: leave it out."
        )
    if config.rotate and ndim == 1:
        raise UserError(
            f"--rotate {config.rotate:g} is for images and volumes, and {data.source!r} holds "
            "signals: leave it out."
        )
    if config.small_first and ndim != 2:
        raise UserError(
            f"--small-first {config.small_first:g} is for images, and {data.source!r} holds "
            f"samples of {times(data.shape)}: leave it out."
        )
    if config.small_first and config.time is not None:
        raise UserError(
            f"--small-first {config.small_first:g} is a share of a known number of steps, and "
            f"--time {config.time} leaves it open: give --steps or --epochs, or leave it out."
        )
    if config.mixup:
        share = config.batch_size // processes(config).num_processes
        if share % 2:
            raise UserError(
                f"--mixup mixes images in pairs, but --batch-size {config.batch_size} gives each "
                f"process {share} of them: make that an even number."
            )
