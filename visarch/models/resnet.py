"""ResNet (note, section 2.1 and appendix B.1): residual stacks that trade resolution for channels.

For a 3 × 32 × 32 image, ResNet-50 is

    z  ← ReLU(BatchNorm(Conv(x, 64, F = 3, S = 1, P = 1)))      64 × 32 × 32
    z₁ ← ResStack(z,  B = 3, C' = 64,  S' = 1)                 256 × 32 × 32
    z₂ ← ResStack(z₁, B = 4, C' = 128, S' = 2)                 512 × 16 × 16
    z₃ ← ResStack(z₂, B = 6, C' = 256, S' = 2)                1024 × 8 × 8
    z₄ ← ResStack(z₃, B = 3, C' = 512, S' = 2)                2048 × 4 × 4
    y  ← AvgPool(z₄)                                          2048
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.convolution import Conv, check_input
from visarch.blocks.normalization import BatchNorm
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.config import ResNetConfig
from visarch.models.pretrained import Pretrained

ResBlockRes = BottleneckBlock  # the note's name for the bottleneck block with C' → 4C'

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class ResStack(nn.Sequential):
    """ResStack (note, appendix B.1): B residual blocks, the first of which takes the stride S'.

    Shapes: (b, C, H, …) → (b, 4C', ⌈H / S'⌉, …); with ``block="residual"`` C' in place of 4C'.

    Args:
        in_channels: C.
        inner_channels: C'.
        num_blocks: B.
        stride: S'.
        block: "bottleneck" for ResBlockRes, "residual" for the lecture's residual block.
        ndim: number of spatial axes.

    Source: note, appendix B.1.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        *,
        num_blocks: int,
        stride: int = 1,
        block: Literal["bottleneck", "residual"] = "bottleneck",
        ndim: int = 2,
    ) -> None:
        blocks: list[nn.Module] = []
        for index in range(num_blocks):
            block_stride = stride if index == 0 else 1
            if block == "bottleneck":
                out_channels = 4 * inner_channels
                blocks.append(
                    ResBlockRes(
                        in_channels, inner_channels, out_channels, stride=block_stride, ndim=ndim
                    )
                )
            else:
                out_channels = inner_channels
                blocks.append(
                    ResidualBlock(in_channels, out_channels, stride=block_stride, ndim=ndim)
                )
            in_channels = out_channels
        super().__init__(*blocks)
        self.out_channels = in_channels


class ResNet(nn.Module, Pretrained):
    """ResNet (note, section 2.1): a vector representation of an image, and classes if asked.

    Any image size and any number of channels; 32 × 32 gives the sizes of the note.

    Shapes: (b, C, H, …) → (b, num_features), or (b, num_classes) with a classifier.

    Raises:
        ValueError: if the input has other axes or channels than the configuration says.

    Source: note, section 2.1; He et al. 2016. Initial values: He et al. 2015 (fan-out).
    """

    mean: Tensor | None
    deviation: Tensor | None

    def __init__(self, config: ResNetConfig = ResNetConfig()) -> None:
        super().__init__()
        self.config = config
        channels, ndim = config.widths[0], config.ndim
        if config.stem == "small":
            self.conv = Conv(config.in_channels, channels, 3, padding=1, bias=False, ndim=ndim)
        else:
            self.conv = Conv(
                config.in_channels, channels, 7, stride=2, padding=3, bias=False, ndim=ndim
            )
        self.norm = BatchNorm(channels)
        self.register_buffer("mean", None, persistent=False)  # unless inputs are normalized
        self.register_buffer("deviation", None, persistent=False)

        stacks: list[ResStack] = []
        for index, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            stack = ResStack(
                channels,
                width,
                num_blocks=depth,
                stride=1 if index == 0 else 2,
                block=config.block,
                ndim=ndim,
            )
            stacks.append(stack)
            channels = stack.out_channels
        self.stacks = nn.ModuleList(stacks)

        self.dropout = nn.Dropout(config.dropout)
        self.classifier: nn.Linear | None = None
        if config.num_classes is not None:
            self.classifier = nn.Linear(channels, config.num_classes)
        for module in self.modules():
            if isinstance(module, Conv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def normalize_inputs(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """From here on, take every image as (x − mean) / deviation, channel by channel.

        Weights that were trained elsewhere often expect it. It is no part of ``config.json`` or of
        the weights: ``task.json`` tells it, and the verbs go by that.

        Raises:
            ValueError: there is not one number for each channel, or a deviation is not positive.
        """
        channels, ndim = self.config.in_channels, self.config.ndim
        if not len(mean) == len(deviation) == channels or not all(d > 0 for d in deviation):
            raise ValueError(
                f"normalize_inputs was given mean {tuple(mean)} and deviation {tuple(deviation)}: "
                f"each must have {channels} numbers, one for each channel, the second above 0"
            )
        device = next(self.parameters()).device
        for name, values in (("mean", mean), ("deviation", deviation)):
            numbers = torch.tensor(values, dtype=torch.float32, device=device)
            setattr(self, name, numbers.view(-1, *(1,) * ndim))

    def normalized(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """What the first convolution sees: the images, normalized where that was asked for."""
        check_input("ResNet", x, self.config.in_channels, self.config.ndim)
        if self.mean is None or self.deviation is None:
            return x
        return ((x - self.mean) / self.deviation).to(x.dtype)

    def stages(self, x: Float[Tensor, "b c *spatial"]) -> dict[str, Tensor]:
        """Every step by its name in the note: ``z``, ``z1`` … ``z4`` and the pooled ``y``."""
        z = functional.relu(self.norm(self.conv(self.normalized(x))))
        if self.config.stem == "large":
            z = _MAX_POOL[self.config.ndim](z, kernel_size=3, stride=2, padding=1)
        steps = {"z": z}
        for index, stack in enumerate(self.stacks, start=1):
            z = stack(z)
            steps[f"z{index}"] = z
        steps["y"] = z.flatten(2).mean(2)
        return steps

    def features(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b f"]:
        """The vector representation y: the last stack's output, averaged over its pixels."""
        return self.stages(x)["y"]

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b k"]:
        y = self.features(x)
        return y if self.classifier is None else self.classifier(self.dropout(y))


def resnet18(
    num_classes: int | None = None, in_channels: int = 3, ndim: Literal[1, 2, 3] = 2
) -> ResNet:
    """ResNet-18: two-convolution blocks, 2 + 2 + 2 + 2."""
    return ResNet(
        ResNetConfig(in_channels, num_classes, block="residual", depths=(2, 2, 2, 2), ndim=ndim)
    )


def resnet34(
    num_classes: int | None = None, in_channels: int = 3, ndim: Literal[1, 2, 3] = 2
) -> ResNet:
    """ResNet-34: two-convolution blocks, 3 + 4 + 6 + 3."""
    return ResNet(
        ResNetConfig(in_channels, num_classes, block="residual", depths=(3, 4, 6, 3), ndim=ndim)
    )


def resnet50(
    num_classes: int | None = None, in_channels: int = 3, ndim: Literal[1, 2, 3] = 2
) -> ResNet:
    """ResNet-50 (note, section 2.1): bottleneck blocks, 3 + 4 + 6 + 3; 23,500,352 parameters."""
    return ResNet(ResNetConfig(in_channels, num_classes, ndim=ndim))


def resnet101(
    num_classes: int | None = None, in_channels: int = 3, ndim: Literal[1, 2, 3] = 2
) -> ResNet:
    """ResNet-101: bottleneck blocks, 3 + 4 + 23 + 3."""
    return ResNet(ResNetConfig(in_channels, num_classes, depths=(3, 4, 23, 3), ndim=ndim))


def resnet152(
    num_classes: int | None = None, in_channels: int = 3, ndim: Literal[1, 2, 3] = 2
) -> ResNet:
    """ResNet-152: bottleneck blocks, 3 + 8 + 36 + 3."""
    return ResNet(ResNetConfig(in_channels, num_classes, depths=(3, 8, 36, 3), ndim=ndim))
