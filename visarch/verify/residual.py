"""Claims about residual blocks (lecture; note, 2 and B.1)."""

from __future__ import annotations

import numpy as np
import torch

from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.resnet import ResBlockRes
from visarch.reference import residual as reference
from visarch.verify.claim import EXACT, Array, Draw, Errors, claim, errors, run, weights, wrong


def draw_images(draw: Draw, channels: int, multiple: int = 1) -> Array:
    """A batch large enough for statistics, with sides that are divisible by `multiple`."""
    sizes = draw.sizes(2, 5 if draw.ndim == 1 else 4 if draw.ndim == 2 else 2)
    return draw.array(3, channels, *(-(-size // multiple) * multiple for size in sizes))


@claim("ResidualBlock is the lecture's, for every k, S and shape", "lecture, Residual Convnets")
def residual_block_is_the_lectures(draw: Draw) -> Errors:
    channels, stride = draw.integer(1, 3), draw.integer(1, 2)
    block = ResidualBlock(
        channels,
        draw.choice([None, draw.integer(1, 3)]),
        kernel_size=draw.integer(1, 4 if draw.ndim < 3 else 3),
        stride=stride,
        ndim=draw.ndim,
    )
    draw.fill(block).train(draw.choice([True, False]))
    x = draw_images(draw, channels)
    expected = reference.residual_block(x, weights(block), stride=stride, training=block.training)
    return errors(run(block, x), expected)


@claim("BottleneckBlock is the lecture's C → D → D → C'", "lecture, A Modern Convnet Block")
def bottleneck_block_is_the_lectures(draw: Draw) -> Errors:
    channels, stride = draw.integer(1, 4), draw.integer(1, 2)
    block = BottleneckBlock(
        channels,
        draw.integer(1, 3),
        draw.choice([None, draw.integer(1, 4)]),
        kernel_size=draw.integer(1, 4 if draw.ndim < 3 else 3),
        stride=stride,
        ndim=draw.ndim,
    )
    draw.fill(block).train(draw.choice([True, False]))
    x = draw_images(draw, channels)
    expected = reference.bottleneck_block(x, weights(block), stride=stride, training=block.training)
    return errors(run(block, x), expected)


@claim("ResBlockRes is the note's C → C' → C' → 4C'", "note, B.1")
def res_block_res_is_the_notes(draw: Draw) -> Errors:
    inner, stride = draw.integer(1, 2), draw.integer(1, 2)
    channels = draw.choice([4 * inner, draw.integer(1, 4)])
    block = ResBlockRes(channels, inner, 4 * inner, stride=stride, ndim=draw.ndim)
    draw.fill(block).train(draw.choice([True, False]))
    x = draw_images(draw, channels, multiple=stride)
    expected = reference.res_block_res(x, weights(block), stride=stride, training=block.training)
    return errors(run(block, x), expected)


@claim("a shape-correcting convolution is there iff shapes differ", "note, 2", measure=EXACT)
def shortcut_corrects_shapes(draw: Draw) -> Errors:
    answers = []
    for channels, out_channels, stride in [(2, 2, 1), (2, 3, 1), (2, 2, 2), (3, 2, 2)]:
        blocks = [
            ResidualBlock(channels, out_channels, stride=stride, ndim=draw.ndim),
            BottleneckBlock(channels, 2, out_channels, stride=stride, ndim=draw.ndim),
        ]
        x = torch.randn(2, channels, *draw.sizes(2, 5))
        for block in blocks:
            y = block(x)
            corrects = any(name.startswith("shortcut.") for name in block.state_dict())
            sizes = tuple(-(-size // stride) for size in x.shape[2:])
            answers += [y.shape[1:] == (out_channels, *sizes), corrects == (y.shape != x.shape)]
    return wrong(*answers)


@claim("f(x) + x: where f vanishes (last γ = β = 0) a block is ReLU(x)", "note, 2")
def blocks_add_their_input(draw: Draw) -> Errors:
    channels = draw.integer(1, 4)
    x = draw_images(draw, channels)
    residual = draw.fill(ResidualBlock(channels, ndim=draw.ndim))
    bottleneck = draw.fill(BottleneckBlock(channels, 2, ndim=draw.ndim))
    for norm in (residual.norm2, bottleneck.norm3):
        torch.nn.init.zeros_(norm.weight)
        torch.nn.init.zeros_(norm.bias)
    expected = np.maximum(x, 0)
    return errors(
        lambda dtype: {
            "residual": run(residual, x)(dtype),
            "bottleneck": run(bottleneck, x)(dtype),
        },
        {"residual": expected, "bottleneck": expected},
    )
