"""transformers' ResNet learns what ours does, and diffusers' U-Net is as large."""

import pytest
import torch
from torch import nn

from visarch.bench.peers import huggingface, labml
from visarch.models.config import UNetConfig
from visarch.models.resnet import ResNet, ResNetConfig


def test_transformers_loss_is_the_cross_entropy_of_our_outputs():
    """That outputs are equal is shown in tests/models/test_peers.py."""
    pytest.importorskip("transformers")
    ours = ResNet(ResNetConfig(num_classes=3, depths=(1, 2), widths=(8, 12))).eval()
    x, labels = torch.rand(2, 3, 16, 20), torch.tensor([2, 0])
    found = huggingface.resnet(ours)(x, labels=labels).loss
    torch.testing.assert_close(found, nn.functional.cross_entropy(ours(x), labels))


def test_diffusers_unet_does_as_many_macs_as_ours():
    """At the sizes that are measured; shapes are enough to count."""
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        x, t = torch.empty(1, 3, 32, 32), torch.empty(1)
        ours = labml.like_labml(UNetConfig(attention="residual")).eval()
        theirs = huggingface.unet(huggingface.UNET_WIDTHS, 32, 32)
        assert huggingface.macs(theirs, x, t) == pytest.approx(
            huggingface.macs(ours, x, t), rel=0.01
        )


def test_macs_are_those_of_the_convolution():
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    assert huggingface.macs(convolution, torch.empty(1, 3, 8, 8)) == 8 * 8 * 5 * 3 * 9
