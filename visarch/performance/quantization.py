"""A ResNet in eight-bit integers: half the memory of bf16, for processors with units for them.

An activation x is kept as the integer q = round(x / scale) + zero in 0 … 255, on a grid that covers
what was seen on sample images; a weight as an integer in −127 … 127 with a scale for each output
channel. A convolution multiplies and sums integers, exactly, and rounds its result (with bias, sum
of the shortcut and ReLU) once, to the grid of what comes next.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, section 2.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.convolution import Conv
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.resnet import ResNet, ResStack
from visarch.performance.packing import Packed, least_width

_ops = torch.ops.onednn

_TINY = torch.finfo(torch.float32).tiny
_UNITS = ("amx_int8", "avx512_vnni", "avx_vnni")

Ranges = Mapping[str, tuple[float, float]]
"""The least and the greatest number that came by, by the name of a place in the network."""


class Grid(NamedTuple):
    """256 numbers at equal distances, one of them 0: the integer q stands for (q − zero) scale."""

    scale: float
    zero: int

    @classmethod
    def covering(cls, low: float, high: float) -> "Grid":
        """The grid from the least to the greatest number, widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        if scale < _TINY:
            scale = 1.0  # nothing was seen but 0
        return cls(scale, round(-low / scale))

    def integers(self, x: Tensor) -> Tensor:
        """The nearest numbers on the grid."""
        return (x / self.scale + self.zero).round_().clamp_(0, 255).to(torch.uint8)

    def numbers(self, q: Tensor) -> Tensor:
        """What integers, or means of them, stand for."""
        return (q.float() - self.zero) * self.scale


def can_quantize() -> bool:
    """Whether this processor multiplies eight-bit integers without overflow, and fast."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit) for unit in _UNITS)


@torch.no_grad()
def observe(resnet: ResNet, images: Tensor) -> Ranges:
    """The ranges of all that is kept as integers, on sample images.

    Args:
        resnet: in eval mode, its BatchNorms folded.
        images: some dozens or hundreds, like those that will come.

    Raises:
        ValueError: there are none, or some of their numbers are not finite.
    """
    if not images.numel() or not images.isfinite().all():
        raise ValueError(
            f"calibration of shape {tuple(images.shape)} holds "
            f"{'numbers that are not finite' if images.numel() else 'no images'}: give some dozens "
            "of images like those that will come"
        )
    ranges: dict[str, tuple[float, float]] = {}

    def widen(place: str, x: Tensor) -> None:
        low, high = ranges.get(place, (0.0, 0.0))
        ranges[place] = min(low, x.min().item()), max(high, x.max().item())

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            widen(f"{name}.input", inputs[0])
            widen(f"{name}.output", output)

        return hook

    handles = [
        module.register_forward_hook(look(name))
        for name, module in resnet.named_modules()
        if isinstance(module, Conv | ResStack)
    ]
    try:
        for part in images.split(64):
            resnet(part)
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def quantize(resnet: ResNet, ranges: Ranges) -> dict[str, Grid]:
    """Put integer layers in the place of a folded ResNet's convolutions and blocks.

    Returns:
        The grid of each step, by its name in ``ResNet.stages``.
    """
    names = {module: name for name, module in resnet.named_modules()}

    def grid(module: nn.Module, side: Literal["input", "output"]) -> Grid:
        return Grid.covering(*ranges[f"{names[module]}.{side}"])

    entering = [grid(stack, "input") for stack in resnet.stacks]
    leaving = [*entering[1:], grid(resnet.stacks[-1], "output")]
    steps = {f"z{number}": step for number, step in enumerate(leaving, start=1)}
    images = grid(resnet.conv, "input")
    first = QuantizedConv(resnet.conv, images, entering[0], activation="relu")
    for module, after_stack in zip(resnet.stacks, leaving, strict=True):
        stack: Any = module
        blocks = list(stack)
        after = [grid(block.conv1, "input") for block in blocks[1:]] + [after_stack]
        for index, block in enumerate(blocks):
            stack[index] = QuantizedResidual(block, grid, after[index])
    resnet.conv = nn.Sequential(Quantized(images), first)  # type: ignore[assignment]
    return {"z": entering[0], **steps, "y": leaving[-1]}


class Quantized(nn.Module):
    """The integers of images on a grid, in channels_last."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.integers(x).contiguous(memory_format=torch.channels_last)


class QuantizedConv(Packed):
    """y = activation(Conv(x) + added), all of them integers on grids of their own.

    The result is written into ``added``, where that is given.

    Shapes: x (b, C, H, W), added (b, C', H', W') → (b, C', H', W').
    """

    def __init__(
        self,
        conv: Conv,
        entering: Grid,
        leaving: Grid,
        *,
        added: Grid | None = None,
        activation: Literal["relu"] | None = None,
    ) -> None:
        weight = conv.weight.detach().float()
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp(min=_TINY)
        super().__init__((weight / scale.view(-1, 1, 1, 1)).round_().to(torch.int8), conv.bias)
        self.scale, self.zero = scale, torch.zeros_like(scale, dtype=torch.int32)
        self.entering, self.leaving, self.added = entering, leaving, added
        self.geometry = [conv.stride] * 2, [conv.padding] * 2, [1, 1], 1
        self.least_width = least_width(conv, conv.padding)
        self.activation = activation or "none"

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        is_narrow = x.shape[3] < self.least_width
        if is_narrow:
            x = functional.pad(x, [0, self.geometry[0][1]], value=self.entering.zero)
        weight = self._layouts.get(x.shape)
        if weight is None:
            weight = self._add_layout(x.shape)
        quantized = x, *self.entering, weight, self.scale, self.zero
        if added is None:
            y = _ops.qconv2d_pointwise.default(
                *quantized,
                self.bias,
                *self.geometry,
                *self.leaving,
                torch.uint8,
                self.activation,
                [],
                "",
            )
            return y[..., :1] if is_narrow else y
        assert self.added is not None
        assert not is_narrow
        return _ops.qconv2d_pointwise.binary(
            *quantized,
            added,
            self.bias,
            *self.geometry,
            *self.leaving,
            torch.uint8,
            *self.added,
            "sum",
            None,
            self.activation,
            [],
            "",
        )

    def _lay_out(self, weight: Tensor, shape: Any) -> Tensor:
        return _ops.qconv_prepack(weight, self.scale, *self.entering, *self.geometry, list(shape))


class QuantizedResidual(nn.Module):
    """ResidualBlock or BottleneckBlock with its BatchNorms folded, in integers.

    The sum is written into what it takes, where the shortcut has no convolution.

    Shapes: (b, C, H, W) → (b, C', H', W').
    """

    def __init__(
        self,
        block: ResidualBlock | BottleneckBlock,
        grid: Callable[[nn.Module, Literal["input", "output"]], Grid],
        leaving: Grid,
    ) -> None:
        super().__init__()
        convs = [module for module in block.children() if isinstance(module, Conv)]
        entering = [grid(conv, "input") for conv in convs]
        self.first = nn.Sequential(
            *(
                QuantizedConv(conv, before, after, activation="relu")
                for conv, before, after in zip(convs, entering, entering[1:], strict=False)
            )
        )
        added, self.shortcut = entering[0], None
        for conv in block.shortcut.modules():
            if isinstance(conv, Conv):
                added = grid(conv, "output")
                self.shortcut = QuantizedConv(conv, entering[0], added)
        self.last = QuantizedConv(convs[-1], entering[-1], leaving, added=added, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        u = self.first(x)
        return self.last(u, x if self.shortcut is None else self.shortcut(x))
