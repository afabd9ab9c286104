"""The network in whose features generated images are compared with real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visarch.data import Preparation, Split, to_unit
from visarch.errors import UserError
from visarch.inference.classifier import embed, logits
from visarch.inference.generated import prepare_like
from visarch.models.inception import load_inception
from visarch.models.resnet import ResNet
from visarch.run import Run, load_run

_WEIGHTS = (".pth", ".pt", ".safetensors")
_INCEPTION_BATCH = 50


@dataclass(frozen=True)
class FeatureNetwork:
    """What images become features by."""

    name: str | None
    """That of the run; none for Inception, in whose features the distance is called FID."""
    embed: Callable[[Split], Tensor]
    """Images of the model that generates, to features (n, d)."""
    classes: tuple[str, ...] | None = None
    """The classes that it reads, if it is a classifier."""
    read: Callable[[Split], Tensor] | None = None
    """Images to the classes that it takes them for (n,)."""


def open_features(source: str, own: Preparation, device: str) -> FeatureNetwork:
    """A classifier's run, or a file with the weights of the FID's Inception.

    Args:
        source: the run, as on the command line, or the file.
        own: how the images to come are prepared; the network gets them as it knows them.
        device: where to compute.

    Raises:
        UserError: it is neither.
    """
    if Path(source).suffix.lower() in _WEIGHTS:
        return _inception(Path(source), own, device)
    run: Run[ResNet] = load_run(source, device).of(ResNet)
    name = run.folder.name if run.folder else Path(source).name

    def prepared(split: Split) -> Split:
        try:
            return prepare_like(split, own, run.preparation)
        except ValueError as error:
            raise UserError(f"The features of {source} cannot be had: an image {error}.") from error

    levels = run.preparation.levels
    return FeatureNetwork(
        name,
        lambda split: embed(run.model, prepared(split), levels),
        run.classes,
        lambda split: logits(run.model, prepared(split), levels).argmax(1),
    )


def _inception(file: Path, own: Preparation, device: str) -> FeatureNetwork:
    from visarch.device import find_device

    if own.ndim != 2 or own.shape[0] not in (1, 3):
        raise UserError(
            f"--features {file}: Inception takes images of 1 or 3 channels, and these samples have "
            f"the shape {own.shape}: give a run of `visarch train classifier` on them."
        )
    if not file.is_file():
        raise UserError(f"--features {file}: there is no such file.")
    place = find_device(device)
    model = load_inception(file).to(place)

    @torch.inference_mode()
    def embedded(split: Split) -> Tensor:
        parts = []
        for indices in torch.arange(len(split)).split(_INCEPTION_BATCH):
            images = split.read(indices).images.to(place)
            parts.append(model(to_unit(images, own.levels)).cpu())
        return torch.cat(parts)

    return FeatureNetwork(None, embedded)
