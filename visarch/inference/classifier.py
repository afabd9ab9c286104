"""What a trained classifier is used for: to tell images apart, to be measured, to embed.

Images go in as a split holds them; what comes out lies on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from visarch.data import Split, to_unit
from visarch.data.reading import Progress
from visarch.errors import UserError
from visarch.evaluation.classification import ClassifierMeasurement, measure_classifier
from visarch.inference.noise import device_of
from visarch.inference.splits import first_image
from visarch.models.resnet import ResNet
from visarch.performance.inference import Inference, optimize_for_inference
from visarch.pictures_classification import confusion_chart, mistakes_picture, reliability_chart

SHOWN_MISTAKES = 40
_BATCH = 250
_MOST_PIXELS = 2**20
"""Of a batch: what a network keeps of large images must fit into memory, too."""


def class_names(model: ResNet, names: Sequence[str] | None, source: str) -> tuple[str, ...]:
    """What the classes are called that a model knows; by their numbers where there are no names.

    Raises:
        UserError: it knows no classes.
    """
    count = model.config.num_classes
    if count is None:
        raise UserError(
            f"{source} holds a ResNet without a last layer for classes: it can embed images, but "
            "it cannot tell them apart."
        )
    return tuple(map(str, range(count))) if names is None else tuple(names)


def logits(
    model: ResNet,
    split: Split,
    levels: int | None,
    *,
    mirrored: bool = False,
    progress: Progress = lambda done, total: None,
) -> Tensor:
    """What the classifier says of each image: softmax makes probabilities of it.

    With ``mirrored`` it is shown each image's mirror image as well, and the mean of both answers
    counts; where a class is the same from left to right, that is a better one.

    ``progress`` is called with (images done, images there are).

    Shapes: (n, K).
    """
    return _of_batches(partial(_answer, mirrored=mirrored), model, split, levels, progress)


def embed(
    model: ResNet,
    split: Split,
    levels: int | None,
    *,
    progress: Progress = lambda done, total: None,
) -> Tensor:
    """The vector representation of each image, that the classifier's last layer sees.

    ``progress`` is called with (images embedded, images there are).

    Shapes: (n, num_features).
    """
    return _of_batches(lambda network, x: network.features(x), model, split, levels, progress)


def measure(
    model: ResNet,
    split: Split,
    levels: int | None,
    *,
    mirrored: bool = False,
    progress: Progress = lambda done, total: None,
) -> ClassifierMeasurement:
    """Measure a classifier on a whole split.

    Raises:
        ValueError: the split has no labels, or one that is none of the model's classes.
    """
    if split.labels is None:
        raise ValueError(f"the split {split.name} has no labels to measure a classifier by")
    answers = logits(model, split, levels, mirrored=mirrored, progress=progress)
    return measure_classifier([(answers, split.labels)])


def pictures(
    measured: ClassifierMeasurement, split: Split, levels: int | None, classes: Sequence[str]
) -> dict[str, Image]:
    """What is confused with what, how sure the classifier is of it, and, if there are mistakes, the
    surest of them."""
    found = {
        "confusion": confusion_chart(measured.confusion, classes),
        "reliability": reliability_chart(measured.reliability),
    }
    positions = measured.mistakes(SHOWN_MISTAKES)
    if len(positions):
        found["mistakes"] = mistakes_picture(
            to_unit(split.read(positions).images, levels),
            measured.labels[positions],
            measured.predictions[positions],
            measured.confidences[positions],
            classes,
        )
    return found


def _answer(network: nn.Module, x: Tensor, mirrored: bool) -> Tensor:
    answer = network(x)
    return (answer + network(x.flip(-1))) / 2 if mirrored else answer


@torch.no_grad()
def _of_batches(
    function: Callable[[Any, Tensor], Tensor],
    model: ResNet,
    split: Split,
    levels: int | None,
    progress: Progress,
) -> Tensor:
    """What a function of the network makes of all images of a split, on the unit scale."""
    parts: list[Tensor] = []
    device, size = device_of(model), _batch_size(split)
    network = _fast(model) if len(split) > size else model  # a copy takes longer than one batch
    for indices in torch.arange(len(split)).split(size):
        x = to_unit(split.read(indices).images.to(device), levels)
        parts.append(function(network, x).float().cpu())
        progress(sum(map(len, parts)), len(split))
    return torch.cat(parts)


def _fast(model: ResNet) -> nn.Module:
    """A copy that computes the same but for rounding, unless it is a fast one already."""
    return model if isinstance(model, Inference) else optimize_for_inference(model, "fp32")


def _batch_size(split: Split) -> int:
    pixels = math.prod(first_image(split).shape[2:])
    return max(1, min(_BATCH, _MOST_PIXELS // pixels))
