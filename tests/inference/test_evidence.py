"""The map of a class is its logit, spread over the image."""

from __future__ import annotations

import pytest
import torch

from visarch import ResNet, ResNetConfig
from visarch.data import Split
from visarch.inference.classifier import logits
from visarch.inference.evidence import activation_map

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> ResNet:
    torch.manual_seed(0)
    config = ResNetConfig(3, CLASSES, block="residual", depths=(1, 1), widths=(4, 6), dropout=0.3)
    return ResNet(config).eval()


@pytest.fixture(scope="module")
def split() -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, 3, 10, 14), generator=generator, dtype=torch.uint8)
    return Split("noise", images, None, ["0", "1"])


@pytest.mark.parametrize("label", range(CLASSES))
def test_its_mean_is_the_logit(model: ResNet, split: Split, label: int):
    evidence = activation_map(model, split, 256, label)
    assert evidence.shape == (5, 7)
    torch.testing.assert_close(evidence.mean(), logits(model, split, 256)[0, label])


def test_a_class_that_is_not_known_is_refused(model: ResNet, split: Split):
    for label in (-1, CLASSES):
        with pytest.raises(ValueError, match=f"class {label}"):
            activation_map(model, split, 256, label)
    with pytest.raises(ValueError, match="class 0"):
        activation_map(ResNet(ResNetConfig(depths=(1,), widths=(4,))).eval(), split, 256, 0)
