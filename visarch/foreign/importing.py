"""From a file of another package to a model folder: renamed, checked, and told how to be used."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from visarch.errors import UserError
from visarch.foreign import labml, lucidrains, resnet
from visarch.foreign.expectation import Expectation
from visarch.foreign.files import Weights, read_weights
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.training.atomic import replace_files, writing
from visarch.training.runfolder import TASK

Origin = Literal["torchvision", "timm", "labml", "lucidrains"]

TOLERANCE = 1e-5
"""Largest difference of outputs, in units of the largest output where that exceeds 1."""


@dataclass(frozen=True)
class Imported:
    """Foreign weights in a model of ours."""

    model: ResNet | Denoiser
    """In eval mode, with the outputs of the network that they come from."""
    difference: float
    """Largest difference between its outputs and the other network's, on random images."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What one must know to use it: its classes, and how it expects images. For task.json."""
    reasons: tuple[tuple[str, str, str], ...] = ()
    """What the model is or was taken to be, and why."""


def import_weights(file: Path, origin: Origin, expectation: Expectation) -> Imported:
    """The model that weights of another package make, if visarch has such a network.

    Args:
        file: .safetensors, or what torch.save writes; no code of it is run.
        origin: the package.
        expectation: how the model expects images, as far as that is known.

    Raises:
        UserError: the file cannot be read, or holds no network that visarch has; says why.
    """
    weights = read_weights(file)
    if origin == "lucidrains":
        lucidrains.refuse(weights)
    if origin == "labml":
        return _denoiser(weights, file, expectation)
    return _resnet(weights, file, origin, expectation)


def save_imported(imported: Imported, folder: Path, card: str) -> None:
    """A model folder: config.json, the weights, a card, and task.json where there is what to tell.

    Raises:
        UserError: the disk is full or refuses.
    """

    def write(side: Path) -> None:
        imported.model.save_pretrained(side)
        (side / "README.md").write_text(card, encoding="utf-8")
        if imported.facts:
            text = json.dumps(imported.facts, indent=2, ensure_ascii=False) + "\n"
            (side / TASK).write_text(text, encoding="utf-8")

    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    replace_files(folder, write, last="model.safetensors")


def _resnet(weights: Weights, file: Path, origin: Origin, expectation: Expectation) -> Imported:
    model = resnet.resnet(weights, origin)
    config = model.config
    sides = (64, 64) if config.stem == "large" else (32, 32)
    x = torch.randn(2, config.in_channels, *sides, generator=torch.Generator().manual_seed(0))
    difference = _difference(partial(resnet.outputs, weights), model, x)
    expected, reasons = expectation.settled(file, config)
    classes = f"{config.num_classes} classes" if config.num_classes else "no classifier"
    network = (
        "network",
        f"ResNet with {config.block} blocks, depths {' '.join(map(str, config.depths))}, "
        f"{config.stem} stem, {config.in_channels} channels, {classes}",
        "by the names and shapes in the file",
    )
    return Imported(model, difference, expected.facts(file), (network, *reasons))


def _denoiser(weights: Weights, file: Path, expectation: Expectation) -> Imported:
    if expectation != Expectation():
        raise UserError(
            "--image-size, --mean, --deviation and --class-names tell how a classifier expects "
            f"images, and {file} is to be a U-Net of labml.ai: leave them out."
        )
    model = labml.denoiser(weights)
    config = model.config
    side = 2 ** (len(config.widths) + 1)
    x = torch.randn(2, config.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([17.0, 731.0])
    difference = _difference(
        partial(labml.outputs, weights), lambda x, t: model(x, t / labml.NUM_STEPS), x, t
    )
    network = (
        "network",
        f"Denoiser, widths {' '.join(map(str, config.widths))}, num_blocks {config.num_blocks}, "
        f"{config.in_channels} channels",
        "by the names and shapes in the file",
    )
    time = ("time", "t = step / 1000", "labml.ai counts steps from 0 to 999; t runs from 0 to 1")
    return Imported(model, difference, {}, (network, time))


@torch.inference_mode()
def _difference(
    theirs: Callable[..., Tensor], ours: Callable[..., Tensor], *inputs: Tensor
) -> float:
    """The largest between outputs.

    Raises:
        UserError: it is too large.
    """
    expected = theirs(*inputs)
    difference = float((ours(*inputs) - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UserError(
            f"The outputs differ from those of the network that the weights come from by "
            f"{difference:.2g}, of at most {float(expected.abs().max()):.3g}: nothing was written."
        )
    return difference
