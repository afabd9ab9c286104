"""The classifier as a task: cross-entropy on augmented images, its metrics, and its mistakes."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from visarch.data import Batch, Data, Split, to_unit
from visarch.data.augmentation import (
    Padding,
    affine,
    cutout,
    flip,
    mixing_weights,
    mixup,
    reduced,
    shift,
    turn_and_zoom,
)
from visarch.data.randaugment import OPERATIONS, rand_augment
from visarch.evaluation.classification import ClassifierMeasurement
from visarch.inference.classifier import measure, pictures
from visarch.models.resnet import ResNet
from visarch.objectives.classification import cross_entropy, is_correct, smooth_targets
from visarch.performance.uncompiled import uncompiled
from visarch.pictures import beside
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.classifier_defaults import SMALL_SIDE, kind_of
from visarch.training.length import planned_steps
from visarch.training.randomness import StepNoise, batch_indices, derive_seed

_GRAY = 0.5
_EXAMPLES = 32


class ClassifierTask:
    """Minimise the cross-entropy of smoothed targets on augmented images."""

    name = "classifier"
    metric: tuple[str, Literal["min", "max"]] = ("accuracy", "max")
    low_precision = True

    def __init__(self, config: ClassifierTrainConfig, data: Data) -> None:
        assert data.classes is not None
        self.config, self.classes, self.levels = config, data.classes, data.levels
        # beyond its edge a photograph goes on, and so does the paper that a character stands on
        self.padding: Padding = "mirror" if kind_of(data).name == "photographs" else "edge"

        self._small_steps = 0.0
        if config.small_first:
            steps = planned_steps(config, len(data.splits["train"]))
            assert steps is not None
            self._small_steps = config.small_first * steps

        self._last: tuple[Tensor, Split, ClassifierMeasurement] | None = None

    def facts(self) -> dict[str, Any]:
        return {}

    def loss(
        self, model: nn.Module, batch: Batch, noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy in nats; while training, of augmented images."""
        assert batch.labels is not None
        targets = smooth_targets(batch.labels, len(self.classes), self.config.label_smoothing)
        if model.training:
            # autocast is for the network: 8 bits are too few to say where pixels go
            with torch.autocast(batch.images.device.type, enabled=False):
                x, targets = self.augment(batch.images, targets, noise)
        else:
            x = to_unit(batch.images, self.levels)
        logits = model(x).float()
        accuracy = is_correct(logits.detach(), targets).float().mean()
        return cross_entropy(logits, targets).mean(), {"accuracy": accuracy}

    def augment(self, images: Tensor, targets: Tensor, noise: StepNoise) -> tuple[Tensor, Tensor]:
        """Images as they are stored, changed at random and on the unit scale; and their targets.

        Shapes: images (b, C, *spatial), targets (b, K) → as both.
        """
        config, ndim = self.config, images.ndim - 2
        x = to_unit(self._moved(images, noise), self.levels)
        if config.randaugment:
            choices = noise.integers(len(OPERATIONS), config.randaugment)
            signs = 2 * noise.integers(2, config.randaugment) - 1
            # compiled anew for each step's groups, it would never be done
            x = uncompiled(rand_augment)(x, choices, signs, config.magnitude or 0.0)
        if config.cutout:
            x = cutout(x, noise.uniform(ndim), config.cutout, _GRAY)
        if config.mixup:
            x, targets = mixup(x, targets, mixing_weights(config.mixup, noise.uniform(2)))
        # augmentation may have lost the memory format that suits the model
        x = torch.empty_like(images, dtype=x.dtype).copy_(x)
        return (reduced(x, SMALL_SIDE) if noise.step < self._small_steps else x), targets

    def _moved(self, images: Tensor, noise: StepNoise) -> Tensor:
        """Shifted, turned, zoomed and mirrored."""
        config, ndim = self.config, images.ndim - 2
        reach = config.crop or 0
        if reach or config.rotate or config.zoom:
            offsets = noise.integers(2 * reach + 1, ndim) - reach
        if config.rotate or config.zoom:
            planes = ndim * (ndim - 1) // 2
            most = math.radians(config.rotate or 0.0)
            angles = most * (2 * noise.uniform(planes) - 1)
            zooms = math.log1p(config.zoom or 0.0) * (2 * noise.uniform() - 1)
            images = affine(images, turn_and_zoom(angles, zooms, ndim), offsets, self.padding)
        elif reach:
            images = shift(images, offsets, self.padding)
        if config.flip == "yes":
            images = flip(images, noise.integers(2).bool())
        return images

    def evaluate(self, model: nn.Module, split: Split, noise: StepNoise) -> dict[str, float]:
        """Accuracy and its companions; nothing for a split without labels."""
        assert isinstance(model, ResNet)
        if split.labels is None:
            return {}
        measured = measure(model, split, self.levels)
        self._last = _checksums(model), split, measured
        return dict(measured)

    def pictures(self, model: nn.Module, data: Data) -> dict[str, Image.Image]:
        """What is confused, how sure it is of what, the surest mistakes, and what training sees.

        They are of the split that this very model was last measured on.
        """
        assert isinstance(model, ResNet)
        examples = {"examples": self._examples(data)}
        if self._last is None or not torch.equal(self._last[0], _checksums(model)):
            labelled = [split for split in data.splits.values() if split.labels is not None]
            if not labelled:
                return examples
            self.evaluate(model, labelled[-1], StepNoise(0, 0, 1))
        assert self._last is not None
        _, split, measured = self._last
        return examples | pictures(measured, split, self.levels, self.classes)

    def _examples(self, data: Data) -> Image.Image:
        """The first images of the training, above what augmentation makes of them."""
        split = data.splits["train"]
        if split.sequential:  # which cannot be gone back in
            split = data.splits["validation"]
        indices = batch_indices(self.config.seed, 0, len(split), _EXAMPLES)
        images = split.read(indices).images
        seed, last = derive_seed("examples", self.config.seed), math.ceil(self._small_steps)
        noise = StepNoise(seed, last, _EXAMPLES)
        changed, _ = self.augment(images, images.new_zeros(len(images), 1).float(), noise)
        return beside(to_unit(images, self.levels), changed)


def _checksums(model: nn.Module) -> Tensor:
    """The sum of each tensor of a model, by which one tells whether it has changed."""
    return torch.stack([tensor.double().sum().cpu() for tensor in model.state_dict().values()])
