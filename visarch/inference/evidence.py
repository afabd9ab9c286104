"""Where in an image a classifier finds its evidence for a class."""

from __future__ import annotations

import torch
from torch import Tensor

from visarch.data import Split, to_unit
from visarch.inference.noise import device_of
from visarch.inference.splits import first_image
from visarch.models.resnet import ResNet


@torch.no_grad()
def activation_map(model: ResNet, split: Split, levels: int | None, label: int) -> Tensor:
    """The class-activation map M of a class k, of the first image of a split:

        M[p] = Σ_c W[k, c] z[c, p] + b_k,    mean over p of M[p] = the logit of k,

    where z is the last stack's output. Pixels above zero speak for the class, those below against
    it.

    Shapes: (h, …), as z.

    Raises:
        ValueError: the model knows no such class.

    Source: Zhou et al. 2016, with the bias spread over the pixels.
    """
    classifier = model.classifier
    if classifier is None or not 0 <= label < classifier.out_features:
        raise ValueError(f"class {label} is none of this classifier's")
    stages = model.stages(to_unit(first_image(split).to(device_of(model)), levels))
    last = stages[f"z{len(model.stacks)}"][0]
    evidence = torch.tensordot(classifier.weight[label], last, dims=1) + classifier.bias[label]
    return evidence.float().cpu()
