"""transformers' ResNet, and diffusers' U-Net."""

from typing import Any

import torch
from torch import nn

from visarch.bench.peers import adopt, renamed
from visarch.models.resnet import ResNet


def resnet(ours: ResNet) -> Any:
    """transformers' ResNetForImageClassification with our weights; the small stem, which they do
    not have, in place of theirs."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config, residual = ours.config, ours.config.block == "residual"
    theirs = ResNetForImageClassification(
        ResNetConfig(
            num_channels=config.in_channels,
            embedding_size=config.widths[0],
            hidden_sizes=[width * (1 if residual else 4) for width in config.widths],
            depths=list(config.depths),
            layer_type="basic" if residual else "bottleneck",
            num_labels=config.num_classes,
        )
    )
    if config.stem == "small":
        stem = theirs.resnet.embedder
        stem.embedder.convolution = nn.Conv2d(
            config.in_channels, config.widths[0], 3, padding=1, bias=False
        )
        stem.pooler = nn.Identity()
    names = [("conv.", "embedder.embedder.convolution.")]
    names += [("norm.", "embedder.embedder.normalization.")]
    names += [("shortcut.0.", "shortcut.convolution.")]
    names += [("shortcut.1.", "shortcut.normalization.")]
    names += [(f"conv{i + 1}.", f"layer.{i}.convolution.") for i in range(3)]
    names += [(f"norm{i + 1}.", f"layer.{i}.normalization.") for i in range(3)]
    names += [(f"stacks.{i}.", f"encoder.stages.{i}.layers.") for i in range(len(config.depths))]
    weights = renamed(ours.state_dict(), names)
    weights = {f"resnet.{name}": tensor for name, tensor in weights.items()}
    return adopt(theirs, renamed(weights, [("resnet.classifier.", "classifier.1.")]))


UNET_WIDTHS = (64, 128, 256, 768)
"""Channels with which diffusers' U-Net does as many multiply-accumulates as the note's, to 1 %.

Its weights cannot be ours: it enlarges by repeating pixels before a 3×3 convolution, where the note
has a transposed one; its ascent makes the channels of its own level instead of the level above's;
its attention has several heads, with separate projections and a GroupNorm before them.
"""


def unet(widths: tuple[int, ...], side: int, num_groups: int) -> Any:
    """diffusers' UNet2DModel, which attends at the two lowest levels as the note's U-Net does."""
    from diffusers import UNet2DModel

    attends = [level >= len(widths) - 2 for level in range(len(widths))]
    return UNet2DModel(
        sample_size=side,
        block_out_channels=widths,
        norm_num_groups=num_groups,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
    ).eval()


def macs(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of a forward pass, as torch counts them in any network."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2
