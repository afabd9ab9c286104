"""The runs that a page shows, opened once for everyone who looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar, cast

import torch
from PIL.Image import Image
from torch import Tensor, nn

from visarch.data import Data, Split, to_unit
from visarch.data.reading import Progress
from visarch.errors import UserError
from visarch.inference.classifier import class_names
from visarch.inference.nearest import Index, build_index
from visarch.inference.noise import device_of
from visarch.inference.recipe import recipe_of
from visarch.inference.splits import first_image, representatives
from visarch.inference.vae import information
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.pictures import to_picture
from visarch.run import Run, load_run

_SEARCHED, _MEASURED = 2000, 500
"""Images, at most: whose features are searched, by which latent dimensions are sorted."""

M = TypeVar("M", bound=nn.Module)


@dataclass
class Shown(Generic[M]):
    """A run with what the page works out of it, each when it is first asked for."""

    name: str
    """By which it is chosen; no other has it."""
    run: Run[M]

    @property
    def levels(self) -> int | None:
        """Values of a pixel."""
        return self.run.preparation.levels

    @cached_property
    def data(self) -> Data:
        """What the model was trained on.

        Raises:
            UserError: it is not known, or no longer there.
        """
        try:
            return self.run.open_data()
        except UserError as error:
            raise UserError(
                f"What {self.name} was trained on is not known here, or no longer there: drop or "
                "paste an image of your own."
            ) from error

    def held_out(self, number: int) -> tuple[Image, str]:
        """One of the images that the model was not trained on, counted round and round, and what
        it is called.

        Raises:
            UserError: as `data`.
        """
        split = self.run.held_out(self.data)
        number %= len(split)
        stored = split.read(torch.tensor([number]))
        name = f"Held-out image {number}"
        if stored.labels is not None and self.data.classes and stored.labels[0] >= 0:
            name += f": {self.data.classes[int(stored.labels[0])]}"
        return to_picture(to_unit(stored.images[0], self.levels)), name

    def unit(self, split: Split) -> Tensor:
        """The first image of a split on the unit scale, on the model's device."""
        return to_unit(first_image(split)[0].to(device_of(self.run.model)), self.levels)


@dataclass
class ShownClassifier(Shown[ResNet]):
    """A classifier, and the training images by its features."""

    _index: Index | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """What it tells apart."""
        return class_names(self.run.model, self.run.classes, self.run.source)

    def index(self, progress: Progress = lambda done, total: None) -> Index:
        """Training images, to be searched; `progress` is told how many of them are read.

        Raises:
            UserError: as `data`.
        """
        if self._index is None:
            split = self.data.splits["train"]
            self._index = build_index(
                self.run.model, split, self.levels, _SEARCHED, progress=progress
            )
        return self._index


@dataclass
class ShownVAE(Shown[GaussianVAE]):
    """A VAE, and what its latent dimensions tell."""

    @cached_property
    def information(self) -> Tensor | None:
        """Mean KL of each latent dimension over held-out images (Z,); none without data."""
        try:
            split = self.run.held_out(self.data)
        except UserError:
            return None
        split = split.take(split.name, representatives(len(split), _MEASURED))
        return information(self.run.model, split, self.levels)

    @cached_property
    def order(self) -> list[int]:
        """The latent dimensions, those first that tell most of an image."""
        if self.information is None:
            return list(range(self.run.model.config.latent_dim))
        return self.information.argsort(descending=True).tolist()


@dataclass
class ShownDenoiser(Shown[Denoiser]):
    """A diffusion model, and how it is used."""

    def __post_init__(self) -> None:
        self.recipe = recipe_of(self.run)


class Shelf:
    """All runs of a page, by name.

    Raises:
        UserError: one cannot be opened, or works on something else than images.
    """

    def __init__(self, sources: Sequence[str], device: str = "auto") -> None:
        self.all: dict[str, Shown] = {}
        for source in sources:
            run = load_run(source, device)
            if run.preparation.ndim != 2:
                raise UserError(
                    f"{source} works on {run.preparation.ndim}-d data, and the page shows images: "
                    "leave it out, and use `visarch predict`, `sample` or `reconstruct` on it."
                )
            shown = self._shown(self._name(run), run)
            self.all[shown.name] = shown

    @property
    def classifiers(self) -> dict[str, ShownClassifier]:
        """Those that tell images apart."""
        return _of(self.all, ShownClassifier)

    @property
    def vaes(self) -> dict[str, ShownVAE]:
        """Those that encode."""
        return _of(self.all, ShownVAE)

    @property
    def denoisers(self) -> dict[str, ShownDenoiser]:
        """Those that generate."""
        return _of(self.all, ShownDenoiser)

    def _name(self, run: Run[nn.Module]) -> str:
        name = run.folder.name if run.folder else run.source
        return name if name not in self.all else f"{name} ({len(self.all) + 1})"

    @staticmethod
    def _shown(name: str, run: Run[nn.Module]) -> Shown:
        if isinstance(run.model, ResNet):
            classifier = ShownClassifier(name, cast("Run[ResNet]", run))
            assert classifier.classes  # or else it is said now that there are none
            return classifier
        if isinstance(run.model, GaussianVAE):
            return ShownVAE(name, cast("Run[GaussianVAE]", run))
        return ShownDenoiser(name, cast("Run[Denoiser]", run))


S = TypeVar("S", bound=Shown)


def _of(all_shown: dict[str, Shown], kind: type[S]) -> dict[str, S]:
    return {name: shown for name, shown in all_shown.items() if isinstance(shown, kind)}
