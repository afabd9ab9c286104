"""ResNets of torchvision and timm: the same outputs, or the reason why not."""

from __future__ import annotations

import re

import pytest
import torch

from visarch import ResNetConfig
from visarch.errors import UserError
from visarch.foreign.resnet import configuration, outputs, resnet

from .peers import DEPTHS, MISSHAPEN, PeerResNet, trained

pytestmark = pytest.mark.usefixtures("as_for_users")


def weights_of(**settings) -> dict[str, torch.Tensor]:
    return dict(PeerResNet(**({"depth": 18, "width": 8} | settings)).state_dict())


CASES = {
    **{f"resnet{depth}": {"depth": depth, "width": 8} for depth in DEPTHS},
    **{f"resnet{depth}-3×3": {"depth": depth, "width": 8, "stem": 3} for depth in (18, 50)},
    "gray": {"depth": 18, "width": 8, "channels": 1},
    "features alone": {"depth": 50, "width": 8, "classes": 0},
    "resnet50 itself": {"depth": 50, "classes": 1000},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@torch.no_grad()
def test_the_same_logits(settings: dict):
    peer = trained(PeerResNet(**settings))
    weights = dict(peer.state_dict())
    x = torch.randn(2, settings.get("channels", 3), 64, 48)
    expected = peer(x)
    ours = resnet(weights, "torchvision")
    assert not ours.training
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(weights, x), expected, rtol=1e-5, atol=1e-5)


def test_sizes_go_by_shapes():
    with torch.device("meta"):
        found = configuration(weights_of(depth=101, width=64, channels=4, classes=7), "timm")
        small = configuration(weights_of(depth=34, stem=3), "timm")
    assert found == ResNetConfig(4, 7, depths=(3, 4, 23, 3), stem="large")
    assert small == ResNetConfig(
        num_classes=10, block="residual", depths=(3, 4, 6, 3), widths=(8, 16, 32, 64)
    )


def test_batches_need_not_have_been_counted():
    counted = weights_of()
    uncounted = {name: t for name, t in counted.items() if "num_batches" not in name}
    assert len(uncounted) < len(counted)
    assert resnet(uncounted, "timm").norm.num_batches_tracked == 0


def test_the_imported_model_can_be_trained():
    model = resnet(weights_of(), "timm").train()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def renamed(old: str, new: str):
    return lambda weights: {name.replace(old, new): t for name, t in weights.items()}


def with_tensor(name: str, *shape: int):
    return lambda weights: {**weights, name: torch.zeros(shape)}


REFUSED = {
    "missing": (
        lambda w: w.pop("layer2.1.bn2.bias") is None or w,
        r"missing: layer2\.1\.bn2\.bias",
    ),
    "unknown": (with_tensor("layer1.0.conv1.bias", 8), r"unknown: layer1\.0\.conv1\.bias"),
    "shape": (with_tensor("bn1.weight", 9), r"bn1\.weight is \(9,\), not \(8,\)"),
    "no bias": (lambda w: w.pop("fc.bias") is None or w, r"missing: fc\.bias"),
    "squeeze": (with_tensor("layer1.0.se.fc1.weight", 8, 8, 1, 1), "squeeze-and-excitation"),
    "deep stem": (renamed("conv1.weight", "conv1.0.weight"), r"no ResNet of timm: layer1"),
    "ResNet-D": (with_tensor("conv1.0.weight", 8, 3, 3, 3), r"several convolutions"),
    "stem": (with_tensor("conv1.weight", 8, 3, 5, 5), r"5×5: visarch has 7×7"),
    "signals": (with_tensor("layer1.0.conv1.weight", 8, 8, 3), r"\(8, 8, 3\), which has not 4"),
    "whole numbers": (
        lambda w: {**w, "bn1.weight": torch.ones(8, dtype=torch.int8)},
        r"bn1\.weight is \(8,\) of whole numbers, not \(8,\)",
    ),
    "another": (renamed("layer", "block"), r"layer1.0.conv1.weight is missing.*begin with conv1"),
}


@pytest.mark.parametrize(("change", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named(change, answer: str):
    with pytest.raises(UserError, match=answer):
        resnet(change(weights_of()), "timm")


@pytest.mark.parametrize("shape", MISSHAPEN, ids=str)
def test_no_tensor_may_have_another_shape(shape: tuple[int, ...]):
    weights = weights_of(depth=50)
    for name in weights:
        with pytest.raises(UserError, match=re.escape(name)):
            resnet(weights | {name: torch.zeros(shape)}, "timm")


def test_groups_and_wide_blocks_are_named():
    weights = weights_of(depth=50)
    grouped = weights | {"layer1.0.conv2.weight": torch.zeros(8, 2, 3, 3)}
    with pytest.raises(UserError, match=r"4 groups \(ResNeXt\)"):
        resnet(grouped, "timm")
    wide = weights | {"layer1.0.conv3.weight": torch.zeros(16, 8, 1, 1)}
    with pytest.raises(UserError, match="layer1 widen 8 channels to 16, where 32"):
        resnet(wide, "timm")
