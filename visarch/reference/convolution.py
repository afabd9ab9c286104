"""Convolution and transposed convolution as the note's section 1 builds them, one image at a time.

An image is an array of shape (C, *spatial) with one, two, three or more spatial axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from visarch.reference.weights import Array, Weights


def positions(sizes: tuple[int, ...]) -> Iterator[Any]:
    """Every index (i, j, …) with i, j, … below these sizes, in row-major order."""
    return product(*(range(size) for size in sizes))


def window_starts(padded_size: int, kernel_size: int, stride: int) -> list[int]:
    """Where windows start along one axis (the loops "for row i", "for column j" of Conv, note 1.1).

    i = 1, 1+S, 1+2S, … in the note; from 0 here. A start whose window would run over the edge
    (i_end > H + 2P) is passed over. How many remain is what Lemma 1.1 claims to count.
    """
    return [start for start in range(0, padded_size, stride) if start + kernel_size <= padded_size]


def pad_edges(x: Array, before: int, after: int) -> Array:
    """`x` (C, *spatial) with `before` zeros ahead of every spatial axis and `after` behind it."""
    sizes = [before + size + after for size in x.shape[1:]]
    padded = np.zeros((x.shape[0], *sizes))
    inside = tuple(slice(before, before + size) for size in x.shape[1:])
    padded[:, *inside] = x
    return padded


def conv(x: Array, weights: Weights, *, stride: int = 1, padding: int = 0) -> Array:
    """Conv (note, 1.1): y[o, i, j] = Σ W_o ⊙ x̃[:, i:i+F, j:j+F] + b_o.

    Shapes: x (C, *spatial), ``weight`` (C', C, F, …), ``bias`` (C') or absent → (C', *spatial').
    """
    weight, bias = weights["weight"], weights.get("bias")
    kernel_sizes = weight.shape[2:]
    # 1. Pad the input with P zeros on the edges.
    padded = pad_edges(x, padding, padding)
    # 2. For every output channel, move down and right in steps of S.
    starts = [
        window_starts(size, kernel_size, stride)
        for size, kernel_size in zip(padded.shape[1:], kernel_sizes, strict=True)
    ]
    y = np.empty((weight.shape[0], *(len(axis) for axis in starts)))
    for o in range(weight.shape[0]):
        for position in positions(y.shape[1:]):
            corner = [axis[i] for axis, i in zip(starts, position, strict=True)]
            window: Any = tuple(slice(i, i + f) for i, f in zip(corner, kernel_sizes, strict=True))
            y[o, *position] = np.sum(weight[o] * padded[:, *window])
            if bias is not None:
                y[o, *position] += bias[o]
    return y


def conv_matrix(
    weight: Array, input_shape: tuple[int, ...], *, stride: int = 1, padding: int = 0
) -> Array:
    """V (note, Fact 1.2): the (C'H'W' × CHW) matrix of a convolution, from the definition.

    Pixel q of input channel c contributes W[o, c, f] to output pixel p of channel o exactly when
    q = pS + f − P; every other entry is zero.
    """
    num_out, num_in, kernel_sizes = weight.shape[0], weight.shape[1], weight.shape[2:]
    sizes = input_shape[1:]
    outputs = tuple(
        len(window_starts(size + 2 * padding, kernel_size, stride))
        for size, kernel_size in zip(sizes, kernel_sizes, strict=True)
    )
    matrix = np.zeros((num_out, *outputs, *input_shape))
    for o, c in product(range(num_out), range(num_in)):
        for p in positions(outputs):
            for f in positions(kernel_sizes):
                q: Any = tuple(i * stride + j - padding for i, j in zip(p, f, strict=True))
                if all(0 <= i < size for i, size in zip(q, sizes, strict=True)):
                    matrix[o, *p, c, *q] = weight[o, c, *f]
    return matrix.reshape(num_out * int(np.prod(outputs)), int(np.prod(input_shape)))


def spread(x: Array, gap: int) -> Array:
    """`x` (C, *spatial) with `gap` zeros in between its pixels (step 1 of TransConv, note 1.2)."""
    step = gap + 1
    spaced = np.zeros((x.shape[0], *(size + (size - 1) * gap for size in x.shape[1:])))
    for q in positions(x.shape[1:]):
        spaced[:, *(i * step for i in q)] = x[:, *q]
    return spaced


def trans_conv(x: Array, weights: Weights, *, stride: int = 1, padding: int = 0) -> Array:
    """TransConv (note, 1.2): zeros between and around the pixels, then Conv with flipped kernels.

    Shapes: x (C, *spatial), ``weight`` (C, C', F, …) as torch stores it, that is W_o is
    ``weight[:, o]``; ``bias`` (C') or absent → (C', *spatial').
    """
    weight = weights["weight"]
    kernel_size = weight.shape[2]
    # 1. S − 1 zeros in between the pixels, F − 1 − P zeros on the edges.
    spaced = spread(x, stride - 1)
    edge = kernel_size - 1 - padding
    padded = pad_edges(spaced, edge, edge)
    # 2. A stride-1 padding-0 convolution with [W̄_o]_{c,i,j} = [W_o]_{c,F−i+1,F−j+1}.
    flipped = np.empty((weight.shape[1], weight.shape[0], *weight.shape[2:]))
    for o in range(weight.shape[1]):
        filter_o = weight[:, o]
        for f in positions(weight.shape[2:]):
            mirrored: Any = tuple(kernel_size - 1 - i for i in f)
            flipped[o, :, *f] = filter_o[:, *mirrored]
    return conv(padded, {**weights, "weight": flipped}, stride=1, padding=0)


def pad_lecture(x: Array, kernel_size: int) -> Array:
    """Pad (lecture, "Convolutional Layer"): Pad(x)_{d,i,j} = x_{d, i−⌊k/2⌋, j−⌊k/2⌋}, or 0.

    Indices run as far as a k-window starting at the last pixel reaches, so ⌊k/2⌋ zeros come before
    the image and k − 1 − ⌊k/2⌋ after it: the same number for odd k, one fewer for even k.
    """
    half = kernel_size // 2
    sizes = x.shape[1:]
    padded = np.zeros((x.shape[0], *(size + kernel_size - 1 for size in sizes)))
    for i in positions(padded.shape[1:]):
        q: Any = tuple(j - half for j in i)
        if all(0 <= j < size for j, size in zip(q, sizes, strict=True)):
            padded[:, *i] = x[:, *q]
    return padded


def conv_same(x: Array, weights: Weights, *, stride: int = 1) -> Array:
    """Σ_{c'} ⟨W_{c,c'}, Pad(x)_{i:i+k, j:j+k}⟩ (lecture), at i, j = 0, S, 2S, …"""
    weight, bias = weights["weight"], weights.get("bias")
    kernel_size = weight.shape[2]
    padded = pad_lecture(x, kernel_size)
    places = [range(0, size, stride) for size in x.shape[1:]]
    z = np.zeros((weight.shape[0], *(len(axis) for axis in places)))
    for c in range(weight.shape[0]):
        for place in positions(z.shape[1:]):
            corner = [axis[i] for axis, i in zip(places, place, strict=True)]
            window: Any = tuple(slice(i, i + kernel_size) for i in corner)
            for c_in in range(weight.shape[1]):
                z[c, *place] += np.sum(weight[c, c_in] * padded[c_in, *window])
            if bias is not None:
                z[c, *place] += bias[c]
    return z


def relu(x: Array) -> Array:
    """ReLU(x) = max(x, 0)."""
    return np.where(x > 0, x, 0.0)


def conv_layer(x: Array, weights: Weights) -> Array:
    """Convolutional layer (lecture): z = ReLU(Σ_{c'} ⟨W_{c,c'}, Pad(x)_{i:i+k, j:j+k}⟩)."""
    return relu(conv_same(x, weights))
