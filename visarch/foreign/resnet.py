"""ResNets of torchvision and timm, which share their names: ``layer1.0.conv1.weight`` and so on.

Both put the stride of a bottleneck on its 3×3 convolution ("v1.5"), as ours does. What a network
does without weights (strides, pooling) is not in a file of weights: it is taken to be the usual.
"""

import re
from collections.abc import Mapping
from itertools import count
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visarch.errors import UserError
from visarch.foreign.files import Weights
from visarch.foreign.filling import filled, require
from visarch.models.config import ResNetConfig
from visarch.models.resnet import ResNet

_OTHER_NETWORKS = {
    r"\.se\.|\.attn\.": "squeeze-and-excitation or attention within the blocks",
    r"^conv1\.\d": "a stem of several convolutions (ResNet-C, ResNet-D)",
    r"downsample\.2\.": "average pooling in the shortcuts (ResNet-D)",
}
"""What names tell of networks that are no plain ResNet."""


def resnet(weights: Weights, package: str) -> ResNet:
    """The ResNet of these weights; depth, block, stem, channels and classes go by their shapes.

    Raises:
        UserError: it is no plain ResNet, for reasons that are named.
    """
    config = configuration(weights, package)
    return filled(lambda: ResNet(config), weights, _their_name, package=package)


def configuration(weights: Weights, package: str) -> ResNetConfig:
    """What the shapes tell of a ResNet.

    Raises:
        UserError: they are not those of a plain ResNet.
    """
    network = f"ResNet of {package}"
    require(weights, network, {"layer1.0.conv1.weight": 4, "layer1.0.conv2.weight": 4})
    found = [why for pattern, why in _OTHER_NETWORKS.items() if _any(pattern, weights)]
    if found:
        raise UserError(f"This is no plain ResNet of {package}: it has {' and '.join(found)}.")
    require(weights, network, {"conv1.weight": 4})
    bottleneck = "layer1.0.conv3.weight" in weights
    stacks = list(_counted(weights, "layer", first=1))
    _check_blocks(weights, stacks, bottleneck, package)
    if "fc.weight" in weights:
        require(weights, network, {"fc.weight": 2})
    return ResNetConfig(
        in_channels=weights["conv1.weight"].shape[1],
        num_classes=len(weights["fc.weight"]) if "fc.weight" in weights else None,
        block="bottleneck" if bottleneck else "residual",
        depths=[len(_counted(weights, f"layer{i}.", first=0)) for i in stacks],
        widths=[len(weights[f"layer{i}.0.conv1.weight"]) for i in stacks],
        stem=_stem(weights["conv1.weight"], package),
    )


def outputs(weights: Mapping[str, Tensor], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
    """What torchvision's network makes of images, written out over the names of the file."""

    def norm(x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (weights[f"{name}.{part}"] for part in parts)
        return functional.batch_norm(x, mean, variance, scale, shift)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def block(x: Tensor, at: str, stride: int) -> Tensor:
        if f"{at}.conv3.weight" in weights:
            y = functional.relu(norm(conv(x, f"{at}.conv1"), f"{at}.bn1"))
            y = functional.relu(norm(conv(y, f"{at}.conv2", stride), f"{at}.bn2"))
            y = norm(conv(y, f"{at}.conv3"), f"{at}.bn3")
        else:
            y = functional.relu(norm(conv(x, f"{at}.conv1", stride), f"{at}.bn1"))
            y = norm(conv(y, f"{at}.conv2"), f"{at}.bn2")
        if f"{at}.downsample.0.weight" in weights:
            x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
        return functional.relu(y + x)

    large = weights["conv1.weight"].shape[-1] == 7
    y = functional.relu(norm(conv(x, "conv1", 2 if large else 1), "bn1"))
    y = functional.max_pool2d(y, 3, 2, 1) if large else y
    for i in _counted(weights, "layer", first=1):
        for j in _counted(weights, f"layer{i}.", first=0):
            y = block(y, f"layer{i}.{j}", 2 if i > 1 and j == 0 else 1)
    y = y.mean((2, 3))
    if "fc.weight" in weights:
        y = torch.addmm(weights["fc.bias"], y, weights["fc.weight"].T)
    return y


def _their_name(ours: str) -> str:
    names = [
        (r"^conv\.", "conv1."),
        (r"^norm\.", "bn1."),
        (r"^stacks\.(\d+)\.", lambda found: f"layer{int(found[1]) + 1}."),
        (r"\.norm(\d)\.", r".bn\1."),
        (r"\.shortcut\.", ".downsample."),
        (r"^classifier\.", "fc."),
    ]
    for pattern, replacement in names:
        ours = re.sub(pattern, replacement, ours)  # type: ignore[call-overload]
    return ours


def _counted(weights: Mapping[str, Tensor], before: str, *, first: int) -> range:
    """The numbers that follow a beginning of names, from the first on without a gap."""
    present = {
        int(found[1])
        for name in weights
        if (found := re.match(rf"{re.escape(before)}(\d+)\.", name))
    }
    return range(first, next(number for number in count(first) if number not in present))


def _stem(weight: Tensor, package: str) -> Literal["small", "large"]:
    stems: dict[tuple[int, ...], Literal["small", "large"]] = {(3, 3): "small", (7, 7): "large"}
    window = tuple(weight.shape[2:])
    if window not in stems:
        raise UserError(
            f"The first convolution of this ResNet of {package} is {'×'.join(map(str, window))}: "
            "visarch has 7×7 with a max-pool behind it, and 3×3 without."
        )
    return stems[window]


def _check_blocks(weights: Weights, stacks: list[int], bottleneck: bool, package: str) -> None:
    """That blocks are C → D → D → 4D, or C → D → D, without groups."""
    convolutions = (1, 2, 3) if bottleneck else (1, 2)
    for i in stacks:
        names = [f"layer{i}.0.conv{number}.weight" for number in convolutions]
        require(weights, f"ResNet of {package}", dict.fromkeys(names, 4))
        _, second, *third = (weights[name] for name in names)
        inner = second.shape[0]
        if second.shape[1] != inner:
            raise UserError(
                f"This is no plain ResNet of {package}: layer{i}.0.conv2.weight is "
                f"{tuple(second.shape)}, a convolution in {inner // second.shape[1]} groups "
                "(ResNeXt), which visarch's ResNet does not have."
            )
        if third and len(third[0]) != 4 * inner:
            raise UserError(
                f"This is no plain ResNet of {package}: the blocks of layer{i} widen {inner} "
                f"channels to {len(third[0])}, where {4 * inner} are needed; so does a wide "
                "ResNet, which visarch does not have."
            )


def _any(pattern: str, weights: Weights) -> bool:
    return any(re.search(pattern, name) for name in weights)
