"""``visarch describe MODEL|RUN``: what a network is made of, as a table, JSON and a drawing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from visarch.cli.flags import nearest
from visarch.errors import UserError

if TYPE_CHECKING:
    from torch import nn


_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NAMES = (*_RESNETS, "unet", "denoiser", "vae")
_DIGITS_SIDE = 28


@dataclass(frozen=True)
class Describe:
    """List a network's steps: operation, output, parameters, MACs, receptive field.

    MACs are the multiply-accumulates of convolutions, linear maps and attention for one image. The
    receptive field is what one output pixel can see of the image through these; the statistics of
    normalizations are left out.
    """

    model: Positional[str]
    """resnet18, resnet34, resnet50, resnet101, resnet152, unet, denoiser, vae; or a run folder, a
    model folder, a hub id."""
    image_size: tuple[int, ...] | None = None
    """Sides of the image, or one number for all of them; by default a run's own, and 32 (vae: 28)
    for a network named here."""
    channels: int | None = None
    """Channels of the image, for a network named here; by default 3 (vae: 1)."""
    ndim: Literal[1, 2, 3] | None = None
    """Spatial axes, for a network named here; by default as many as --image-size has, or 2."""
    num_classes: int | None = None
    """Number of classes, for a ResNet or the denoiser named here; by default no classes."""
    svg: Path | None = None
    """Draw the network into this file, too."""

    def __post_init__(self) -> None:
        for name in ("channels", "num_classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} is {value}; it must be at least 1.")
        if self.image_size is not None and not 1 <= len(self.image_size) <= 3:
            raise UserError(
                f"--image-size has {len(self.image_size)} numbers: give one for all sides, or one "
                "for each of up to 3."
            )
        if self.svg is not None and self.svg.suffix.lower() != ".svg":
            raise UserError(
                f"--svg {self.svg} does not end in .svg, which is what is drawn: "
                f"{self.svg.with_suffix('.svg')} would do."
            )

    def main(self) -> None:
        from visarch.describe.description import table
        from visarch.describe.networks import describe
        from visarch.terminal import tell

        if self.model in NAMES:
            description = describe(self._named(), self.image_size)
        else:
            description = describe(self._kept(), self.image_size or _size_of_run(self.model))
        files = []
        if self.svg is not None:
            from visarch.describe.drawing import draw
            from visarch.outputs import refuse_existing
            from visarch.training.atomic import replace_text

            refuse_existing(self.svg)
            self.svg.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self.svg, draw(description))
            files.append(str(self.svg))
        drawing = [f"Drawing: {file}" for file in files]
        tell(description.to_dict() | {"files": files}, [table(description), *drawing])

    def _named(self) -> nn.Module:
        """The network of this name, as the flags want it."""
        import torch

        from visarch.models import resnet
        from visarch.models.unet import Denoiser, UNet, UNetConfig
        from visarch.models.vae import GaussianVAE, VAEConfig

        sides = self.image_size or ()
        ndim: Any = self.ndim or (len(sides) if len(sides) > 1 else 2)
        if len(sides) > 1 and len(sides) != ndim:
            raise UserError(
                f"--image-size {' '.join(map(str, sides))} has {len(sides)} sides and --ndim is "
                f"{ndim}: give as many, or one for all of them."
            )
        if self.num_classes is not None and self.model in ("unet", "vae"):
            raise UserError(
                f"--num-classes {self.num_classes} does not fit the {self.model}, which has no "
                "classes; a ResNet and the denoiser can."
            )
        if self.model == "vae":
            if len(sides) < 2:
                sides = (sides or (_DIGITS_SIDE,)) * ndim
            return GaussianVAE(VAEConfig(image_shape=(self.channels or 1, *sides)))
        with torch.device("meta"):  # shapes are enough: no memory, no time spent on random numbers
            if self.model in _RESNETS:
                make = getattr(resnet, self.model)
                return make(self.num_classes, in_channels=self.channels or 3, ndim=ndim)
            config = UNetConfig(in_channels=self.channels or 3, ndim=ndim)
            if self.model == "unet":
                return UNet(config)
            return Denoiser(config, num_classes=self.num_classes)

    def _kept(self) -> nn.Module:
        """The network in a run folder, in a model folder or on the hub, which is as it is."""
        given = {
            "--channels": self.channels,
            "--ndim": self.ndim,
            "--num-classes": self.num_classes,
        }
        for flag, value in given.items():
            if value is not None:
                raise UserError(
                    f"{flag} {value} is for networks named {', '.join(NAMES)}: the model in "
                    f"{self.model} was made with its own."
                )
        if "/" not in self.model and not Path(self.model).exists():
            raise UserError(
                f"there is no network and no folder called {self.model!r}. Nearest: "
                f"{', '.join(nearest(self.model.lower(), NAMES))}."
            )
        from visarch.hub import load

        return load(self.model)


def _size_of_run(source: str) -> tuple[int, ...] | None:
    """The sides of the images that a run was trained on, where ``source`` is a run folder."""
    data = Path(source) / "data.json"
    if not data.is_file():
        return None
    preparation = json.loads(data.read_text("utf-8")).get("preparation", {})
    return tuple(preparation.get("shape", ())[1:]) or None
