"""The normalization template of the note's appendix A.1, with its index sets written out.

A batch is an array of shape (N, C, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from visarch.reference.weights import Array, Weights

Mask = NDArray[np.bool_]
Select = Callable[[tuple[int, ...], tuple[int, ...]], Mask]


@lru_cache(maxsize=8)
def examples_and_channels(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """k' and c' of every index in I: arrays of this shape, ready for a set's condition."""
    k_, c_ = np.indices(shape)[:2]
    return k_, c_


def select_batch(index: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
    """Batch norm: {(k', c', i', j') ∈ I : c' = c}."""
    _, c_ = examples_and_channels(shape)
    return c_ == index[1]


def select_layer(index: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
    """Layer norm: {(k', c', i', j') ∈ I : k' = k}."""
    k_, _ = examples_and_channels(shape)
    return k_ == index[0]


def select_instance(index: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
    """Instance norm: {(k', c', i', j') ∈ I : k' = k, c' = c}."""
    k_, c_ = examples_and_channels(shape)
    return (k_ == index[0]) & (c_ == index[1])


def select_group(num_groups: int) -> Select:
    """Group norm: {(k', c', i', j') ∈ I : k' = k, ⌊c'/(C/G)⌋ = ⌊c/(C/G)⌋}."""

    def select(index: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
        k_, c_ = examples_and_channels(shape)
        size = shape[1] / num_groups
        return (k_ == index[0]) & (np.floor(c_ / size) == np.floor(index[1] / size))

    return select


def normalize(x: Array, select: Select, *, epsilon: float = 1e-5) -> Array:
    """Steps 1 and 2 of the template (note, A.1): X̄ = (X − μ)/σ, sets taken index by index."""
    mean, deviation = np.empty_like(x), np.empty_like(x)
    for index in product(*(range(size) for size in x.shape)):
        selected = x[select(index, x.shape)]
        mean[index] = np.sum(selected) / selected.size
        variance = np.sum((selected - mean[index]) ** 2) / selected.size
        deviation[index] = np.sqrt(variance + epsilon)
    return (x - mean) / deviation


def scale(x: Array, weights: Weights) -> Array:
    """Step 3 of the template (note, A.1): Y_{k,c,i,j} = γ_c X̄_{k,c,i,j} + β_c."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = weights["weight"][c] * x[:, c] + weights["bias"][c]
    return y


def batch_norm(
    x: Array, weights: Weights, *, training: bool = True, epsilon: float = 1e-5
) -> Array:
    """Batch norm (note, A.1; lecture): the batch's statistics in training, running ones at test."""
    if training:
        return scale(normalize(x, select_batch, epsilon=epsilon), weights)
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        deviation = np.sqrt(weights["running_var"][c] + epsilon)
        y[:, c] = (x[:, c] - weights["running_mean"][c]) / deviation
    return scale(y, weights)


def running_average(x: Array, weights: Weights, *, momentum: float = 0.1) -> tuple[Array, Array]:
    """The moving averages after one more training batch (note, A.1): r ← (1 − m) r + m s.

    s is the channel's mean, and its unbiased variance (1/(|S| − 1)), as everywhere in practice.
    """
    mean, variance = weights["running_mean"].copy(), weights["running_var"].copy()
    for c in range(x.shape[1]):
        values = x[:, c].ravel()
        centre = np.sum(values) / values.size
        unbiased = np.sum((values - centre) ** 2) / (values.size - 1)
        mean[c] = (1 - momentum) * mean[c] + momentum * centre
        variance[c] = (1 - momentum) * variance[c] + momentum * unbiased
    return mean, variance


def layer_norm(x: Array, weights: Weights, *, epsilon: float = 1e-5) -> Array:
    """Layer norm (note, A.1): one set for each example; γ and β still belong to channels."""
    return scale(normalize(x, select_layer, epsilon=epsilon), weights)


def instance_norm(x: Array, weights: Weights, *, epsilon: float = 1e-5) -> Array:
    """Instance norm (note, A.1): one set for each example and channel."""
    return scale(normalize(x, select_instance, epsilon=epsilon), weights)


def group_norm(x: Array, weights: Weights, *, num_groups: int = 32, epsilon: float = 1e-5) -> Array:
    """Group norm (note, A.1): one set for each example and run of C/G channels."""
    return scale(normalize(x, select_group(num_groups), epsilon=epsilon), weights)
