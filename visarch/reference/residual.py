"""Residual blocks over a batch (N, C, *spatial): the lecture's two, and the note's ResBlockRes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visarch.reference.convolution import conv, conv_same, relu
from visarch.reference.normalization import batch_norm
from visarch.reference.weights import Array, Weights, has, part


def each(box: Callable[[Array], Array], batch: Array) -> Array:
    """A box that is defined on one image, applied to every image of a batch."""
    return np.stack([box(image) for image in batch])


def shortcut(x: Array, weights: Weights, *, stride: int, training: bool) -> Array:
    """x' of the note's ResBlockRes (B.1): x itself, or BatchNorm(Conv(x, 4C', F=1, S', P=0)).

    The convolution is there exactly where shapes differ; its weights tell that they do.
    """
    if not has(weights, "shortcut"):
        return x
    corrected = each(lambda image: conv(image, part(weights, "shortcut.0"), stride=stride), x)
    return batch_norm(corrected, part(weights, "shortcut.1"), training=training)


def residual_block(x: Array, weights: Weights, *, stride: int = 1, training: bool = True) -> Array:
    """Residual convolutional block (lecture, "Deep Residual Convnets").

    u' = ⟨W¹, Pad(x)⟩; u = ReLU(BatchNorm(u'; γ₁, β₁)); z' = ⟨W², Pad(u)⟩;
    z = ReLU(x + BatchNorm(z'; γ₂, β₂)).
    """
    u_ = each(lambda image: conv_same(image, part(weights, "conv1"), stride=stride), x)
    u = relu(batch_norm(u_, part(weights, "norm1"), training=training))
    z_ = each(lambda image: conv_same(image, part(weights, "conv2")), u)
    z = batch_norm(z_, part(weights, "norm2"), training=training)
    return relu(shortcut(x, weights, stride=stride, training=training) + z)


def bottleneck_block(
    x: Array, weights: Weights, *, stride: int = 1, training: bool = True
) -> Array:
    """A modern convnet block (lecture): C → D → D → C' with k×k in the middle, 1×1 around it."""
    u_ = each(lambda image: conv_same(image, part(weights, "conv1")), x)
    u = relu(batch_norm(u_, part(weights, "norm1"), training=training))
    v_ = each(lambda image: conv_same(image, part(weights, "conv2"), stride=stride), u)
    v = relu(batch_norm(v_, part(weights, "norm2"), training=training))
    z_ = each(lambda image: conv_same(image, part(weights, "conv3")), v)
    z = batch_norm(z_, part(weights, "norm3"), training=training)
    return relu(shortcut(x, weights, stride=stride, training=training) + z)


def res_block_res(x: Array, weights: Weights, *, stride: int = 1, training: bool = True) -> Array:
    """ResBlockRes (note, B.1): written with the note's Conv, F = 1, 3, 1 and P = 0, 1, 0."""

    def norm(name: str, z: Array) -> Array:
        return batch_norm(z, part(weights, name), training=training)

    z1 = norm("norm1", each(lambda image: conv(image, part(weights, "conv1")), x))
    z2 = norm(
        "norm2",
        each(lambda z: conv(relu(z), part(weights, "conv2"), stride=stride, padding=1), z1),
    )
    z3 = norm("norm3", each(lambda z: conv(relu(z), part(weights, "conv3")), z2))
    return relu(z3 + shortcut(x, weights, stride=stride, training=training))
