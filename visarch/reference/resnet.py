"""ResNet as the note's section 2.1 and appendix B.1 list its steps, over a batch of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visarch.reference.convolution import conv, relu
from visarch.reference.normalization import batch_norm
from visarch.reference.residual import each, res_block_res
from visarch.reference.weights import Array, Weights, part


def res_stack(
    x: Array, weights: Weights, *, num_blocks: int, stride: int = 1, training: bool = True
) -> Array:
    """ResStack (note, B.1): one block that may reduce the size, then B − 1 that keep it."""
    z = res_block_res(x, part(weights, "0"), stride=stride, training=training)
    for i in range(2, num_blocks + 1):
        z = res_block_res(z, part(weights, str(i - 1)), stride=1, training=training)
    return z


def avg_pool(x: Array) -> Array:
    """AvgPool: each channel's mean over all pixels."""
    y = np.empty(x.shape[:2])
    for k in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[k, c] = np.sum(x[k, c]) / x[k, c].size
    return y


def resnet(
    x: Array, weights: Weights, *, depths: Sequence[int], training: bool = True
) -> dict[str, Array]:
    """ResNet (note, 2.1), every step by its name; B = 3, 4, 6, 3 make it ResNet-50."""
    stem = each(lambda image: conv(image, part(weights, "conv"), padding=1), x)
    steps = {"z": relu(batch_norm(stem, part(weights, "norm"), training=training))}
    z = steps["z"]
    for i, num_blocks in enumerate(depths, start=1):
        z = res_stack(
            z,
            part(weights, f"stacks.{i - 1}"),
            num_blocks=num_blocks,
            stride=1 if i == 1 else 2,
            training=training,
        )
        steps[f"z{i}"] = z
    steps["y"] = avg_pool(z)
    return steps
