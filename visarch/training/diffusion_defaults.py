"""What the settings of a diffusion model leave open, settled by its data, each with the reason."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from visarch.data import Data
from visarch.data.preparation import times
from visarch.errors import UserError
from visarch.hub import load, load_beside
from visarch.inference.recipe import EVALUATIONS, default_steps
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser
from visarch.training.classifier_defaults import kind_of
from visarch.training.config import spelled, with_preset
from visarch.training.devices import processes
from visarch.training.diffusion import DiffusionTrainConfig, Network
from visarch.training.launch import with_length
from visarch.training.resume import settings_of_begun
from visarch.training.runfolder import TASK

_STEPS = {"small": 1600, "unet": 100_000}
_EPOCHS, _MOST_STEPS = 10, 20_000
"""Passes over many images that the small preset makes, within reason."""
_FEW_IMAGES = 10_000
_WIDTHS_FOR_FEW, _WIDTHS = (16, 32, 64), (32, 64, 128)
"""Of the small preset; below these, each level has the last."""
_LOWEST_SIDE, _MOST_LEVELS = 8, 6
"""The small preset has as many levels as it takes for the lowest to be no larger."""
_GROUPS = 8
_RATE_TIMES_WIDTH = 0.256
"""What Adam's best learning rate is for one width, it is for another in inverse proportion (Yang et
al. 2022): 0.004 for 64 channels at the widest, 0.002 for 128, 0.00025 for the note's 1024."""
_SHIFTED_ABOVE = 64
"""Sides above which the schedule is shifted, as in Hoogeboom et al. 2023."""
_EXAMPLES = 8


def settle(config: DiffusionTrainConfig, data: Data) -> DiffusionTrainConfig:
    """The settings with nothing left open; adds the reasons to those of the data.

    What is settled already stays, so that settings that come from a run stay what they were.

    Raises:
        UserError: some settings do not fit the data, or each other.
    """
    if config.init is not None:
        config = _from_init(config, data)
    if config.preset is None:
        preset, why = _preset(config, data)
        config, reasons = with_preset(replace(config, preset=preset))
        data.reasons += [("preset", preset, why), *reasons]
    config = _condition(config, data)
    config = replace(config, model=_network(config, data))
    changed: dict[str, Any] = {}
    if config.learning_rate is None:
        widest = max(config.model.widths or ())
        changed["learning_rate"] = rate = float(f"{_RATE_TIMES_WIDTH / widest:.3g}")
        data.reasons.append(("learning rate", f"{rate:g}", f"for {widest} channels at the widest"))
    if config.flip == "auto":
        kind = kind_of(data)
        changed["flip"] = "yes" if kind.flip else "no"
        data.reasons.append(("flip", changed["flip"], kind.why))
    if config.guidance is None:
        labelled = takes_labels(config, data) and config.label_dropout > 0
        changed["guidance"] = 1.0 if labelled else 0.0
        why = "towards the label" if labelled else "there is no label to be guided to"
        data.reasons.append(("guidance", f"{changed['guidance']:g}", why))
    config = replace(config, **changed)
    if config.sampling_steps is None:
        steps = default_steps(config.sampler, guided=config.guidance != 0)
        why = f"{config.sampler} takes at most {EVALUATIONS} evaluations of the network then"
        if config.sampler == "ddpm":
            why = "ddpm takes many"
        config = replace(config, sampling_steps=steps)
        data.reasons.append(("sampling steps", str(steps), why))
    if shift := log_snr_shift(data):
        why = f"added to the log-SNR: the sides are {times(data.shape[1:])}, above {_SHIFTED_ABOVE}"
        data.reasons.append(("schedule", f"{shift:.2f}", why))
    steps = _STEPS[config.preset or "small"]
    if config.preset == "small":
        epochs = _EPOCHS * len(data.splits["train"]) // config.batch_size
        steps = max(steps, min(epochs, _MOST_STEPS))
    return with_length(config, data, steps)


def takes_labels(config: DiffusionTrainConfig, data: Data) -> bool:
    """Whether the network is told labels."""
    return config.conditional != "no" and _has_labels(data)


def takes_vectors(config: DiffusionTrainConfig, data: Data) -> bool:
    """Whether the network is told vectors."""
    return config.conditional != "no" and data.splits["train"].vectors is not None


def unet_config(config: DiffusionTrainConfig, data: Data) -> UNetConfig:
    """The network that settled settings speak of, for images of this shape."""
    channels = data.shape[0]
    return UNetConfig(
        in_channels=channels,
        out_channels=2 * channels if config.learned_variance else None,
        ndim=len(data.shape) - 1,  # type: ignore[arg-type]
        **vars(config.model),
    )


def log_snr_shift(data: Data) -> float:
    """2 log(64 / side) for sides above 64: large images take more noise to hide as much of them.

    Source: Hoogeboom et al. 2023, section 3.1.
    """
    sides = data.shape[1:]
    side = math.prod(sides) ** (1 / len(sides))
    return min(0.0, 2 * math.log(_SHIFTED_ABOVE / side))


def examples(config: DiffusionTrainConfig, data: Data) -> list[tuple[int, tuple[float, ...]]]:
    """Labels and vectors of held-out images, evenly spread: what is asked for by default."""
    from visarch.inference.splits import held_out, spread

    split = held_out(data)
    positions = spread(len(split), _EXAMPLES)
    assert split.vectors is not None
    labels = [-1] * len(split) if split.labels is None else split.labels.tolist()
    return [(labels[place], tuple(split.vectors[place].tolist())) for place in positions]


def _preset(config: DiffusionTrainConfig, data: Data) -> tuple[Any, str]:
    device, count = processes(config).device, len(data.splits["train"])
    if device.type == "cpu":
        return "small", "this trains on a CPU"
    if count < _FEW_IMAGES:
        return "small", f"{count:,} images are few"
    return "unet", f"this trains on {device}, on {count:,} images"


def _has_labels(data: Data) -> bool:
    return data.splits["train"].labelled and len(data.classes or ()) > 1


def _condition(config: DiffusionTrainConfig, data: Data) -> DiffusionTrainConfig:
    """Whether the network is told what an image is of."""
    there = []
    if _has_labels(data):
        there.append(f"labels of {len(data.classes or ())} classes")
    if data.splits["train"].vectors is not None:
        there.append(f"vectors of {len(data.vector_names or ())} numbers")
    if config.conditional == "yes" and not there:
        raise UserError(
            f"--conditional yes: the training images in {data.source!r} have neither vectors nor "
            "labels of several classes. Leave it out, or sort the images into a sub-folder for "
            "each class."
        )
    if config.guidance:
        _check_guidance(config, data)
    if config.conditional != "auto":
        return config
    why = f"the images have {' and '.join(there)}" if there else "there is nothing to tell of them"
    data.reasons.append(("conditional", "yes" if there else "no", why))
    return replace(config, conditional="yes" if there else "no")


def _check_guidance(config: DiffusionTrainConfig, data: Data) -> None:
    """That there will be labels to be guided to, and none to be led away from."""
    asks = f"--guidance {config.guidance:g} leads towards a label"
    if not _has_labels(data):
        raise UserError(
            f"{asks}, and the training images in {data.source!r} have no labels of several "
            "classes: leave it out."
        )
    if not takes_labels(config, data):
        raise UserError(
            f"{asks}, and --conditional {config.conditional} does not tell the network any: leave "
            "one of them out."
        )
    if config.label_dropout == 0:
        raise UserError(
            f"{asks} and away from none, and with --label-dropout 0 the network does not learn "
            "what none is: leave one of them out."
        )


def _network(config: DiffusionTrainConfig, data: Data) -> Network:
    """The network, with nothing left open."""
    given, tell = config.model, data.reasons.append
    note = config.preset == "unet"
    widths = given.widths
    if widths is None:
        levels = len(given.attends) if given.attends else _num_levels(data.shape[1:])
        count = len(data.splits["train"])
        most = _WIDTHS_FOR_FEW if count < _FEW_IMAGES else _WIDTHS
        widths = (most + most[-1:] * levels)[:levels]
        why = f"{levels} levels for images of {times(data.shape[1:])}, {count:,} to learn from"
        tell(("widths", spelled(widths), why))
    attends = given.attends
    if attends is None and note and len(widths) == len(UNetConfig.attends):
        attends = tuple(UNetConfig.attends)
    elif attends is None:
        attends = (False,) * (len(widths) - 1) + (True,)
        tell(("attends", spelled(attends), "the lowest level alone"))
    groups = math.gcd(given.num_groups or (UNetConfig.num_groups if note else _GROUPS), *widths)
    if given.num_groups is not None and groups != given.num_groups:
        raise UserError(
            f"--num-groups is {given.num_groups}; it must divide all of --widths "
            f"{spelled(widths)}: {groups} does."
        )
    return replace(
        given,
        widths=widths,
        attends=attends,
        num_groups=groups,
        attention=given.attention or "prenorm",
        num_heads=given.num_heads or 1,
    )


def _num_levels(sides: tuple[int, ...]) -> int:
    """As many as it takes for the lowest to be small, within reason."""
    halvings = math.ceil(math.log2(max(sides) / _LOWEST_SIDE))
    return min(max(2, halvings + 1), _MOST_LEVELS)


def _from_init(config: DiffusionTrainConfig, data: Data) -> DiffusionTrainConfig:
    """With the network of the weights to start from, where the settings do not say otherwise; of a
    run that has begun, with its own, whatever has become of these weights.

    Raises:
        UserError: as `_network_to_start_from`.
    """
    begun = settings_of_begun(config)
    network = _network_to_start_from(config) if begun is None else begun.model
    changed = {}
    for name in (field.name for field in fields(Network) if field.name != "dropout"):
        theirs = getattr(network, name)
        if getattr(config.model, name) is None and theirs is not None:
            changed[name] = theirs
            reason = (name.replace("_", " "), spelled(theirs), f"that of {config.init}")
            data.reasons.append(reason)
    return replace(config, model=replace(config.model, **changed))


def _network_to_start_from(config: DiffusionTrainConfig) -> UNetConfig:
    """That of the weights to start from.

    Raises:
        UserError: they are of another kind of model, or were trained to say something else.
    """
    assert config.init is not None
    model = load(config.init)
    if not isinstance(model, Denoiser):
        raise UserError(
            f"--init {config.init} holds a {type(model).__name__}, and this trains a Denoiser."
        )
    settings = load_beside(config.init, TASK).get("settings") or {}
    for name in ("prediction", "schedule"):
        theirs, ours = settings.get(name), getattr(config, name)
        if theirs not in (None, ours):
            raise UserError(
                f"--init {config.init} was trained with --{name} {theirs}, and its weights mean "
                f"nothing with {ours}: add --{name} {theirs}."
            )
    return model.unet.config
