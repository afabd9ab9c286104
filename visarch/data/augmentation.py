"""Changes to a batch of training images that leave what they show as it is.

Nothing here draws: every random choice is an argument with an entry for each sample, so that who
draws them decides what they depend on, and several processes with a part of the batch each do as
one would. Images are as a split stores them (uint8, int32, or float32 on the unit scale), of one
to three spatial axes, and keep their type.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Padding = Literal["edge", "mirror", "zero"]
"""What lies outside an image abcd: its edge aaaa, its mirror image dcba, or the value 0."""

_GRID_PADDING = {"edge": "border", "mirror": "reflection", "zero": "zeros"}


def reduced(images: Tensor, side: float) -> Tensor:
    """Images at so many times their side, by the bilinear filter that Pillow reduces with.

    Shapes: (b, C, H, W), floats → (b, C, ⌈side · H⌉, ⌈side · W⌉), in the memory format of images.
    """
    sides = [math.ceil(side * size) for size in images.shape[2:]]
    smaller = functional.interpolate(images, size=sides, mode="bilinear", antialias=True)
    return torch.empty_like(smaller, memory_format=_format_of(images)).copy_(smaller)


def _format_of(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def shift(images: Tensor, offsets: Tensor, padding: Padding = "edge") -> Tensor:
    """Each image moved by whole pixels along each axis; what is laid bare is padded.

    Whole pixels, because interpolation would blur: blurred images have another distribution. To
    move by up to r pixels each way is to cut a window from the image padded by r: a random crop.

    Shapes: images (b, C, *spatial), offsets (b, ndim) integers → as images.
    """
    ndim = images.ndim - 2
    index = torch.zeros(1, dtype=torch.int64, device=images.device)
    seen = torch.ones(1, dtype=torch.bool, device=images.device)
    for axis, size in enumerate(images.shape[2:]):
        source = torch.arange(size, device=images.device) - offsets[:, axis, None]  # (b, size)
        shape = [len(images), *(size if other == axis else 1 for other in range(ndim))]
        index = index * size + _inside(source, size, padding).view(shape)
        seen = seen & ((source >= 0) & (source < size)).view(shape)
    # index (b, *spatial): where in the flattened image each pixel comes from
    flat = images.flatten(2)
    moved = flat.gather(2, index.flatten(1).unsqueeze(1).expand(flat.shape)).view(images.shape)
    return moved * seen.unsqueeze(1) if padding == "zero" else moved


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """The images that are chosen, mirrored along their last axis: left becomes right.

    Shapes: images (b, C, *spatial), chosen (b,) booleans → as images.
    """
    return torch.where(_like(chosen, images), images.flip(-1), images)


def cutout(images: Tensor, centers: Tensor, side: int, fill: float) -> Tensor:
    """Each image with a square of one value in it, which may reach over the edge.

    Args:
        images: (b, C, *spatial).
        centers: (b, ndim) in [0, 1), as shares of each axis.
        side: of the square, in pixels.
        fill: its value, as the images are stored.

    Source: DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with
    Cutout.
    """
    hidden = torch.ones(1, dtype=torch.bool, device=images.device)
    for axis, size in enumerate(images.shape[2:]):
        center = (centers[:, axis, None] * size).long().clamp(max=size - 1)  # rounding may reach it
        first = center - side // 2  # (b, 1)
        position = torch.arange(size, device=images.device)
        covered = (position >= first) & (position < first + side)  # (b, size)
        shape = [len(images)] + [1] * (images.ndim - 1)
        shape[axis + 2] = size
        hidden = hidden & covered.view(shape)
    return images.masked_fill(hidden, fill)


def affine(
    images: Tensor, generators: Tensor, offsets: Tensor, padding: Padding = "edge"
) -> Tensor:
    """Each image turned, stretched, slanted and moved: what was at p comes to lie at exp(G) p + o.

    p is counted in pixels from the middle of the image, in the order of its axes (down, across).
    What G is antisymmetric in turns the image, by that angle in radians; its diagonal zooms, by
    that logarithm of a factor; one entry beside the diagonal slants. Values between pixels are
    interpolated linearly.

    Shapes: images (b, C, *spatial), generators G (b, ndim, ndim), offsets o (b, ndim) → as images.
    """
    sizes = images.shape[2:]
    if len(sizes) == 1:  # a signal is an image of height 1
        flat = affine(
            images.unsqueeze(2),
            functional.pad(generators, (1, 0, 1, 0)),
            functional.pad(offsets, (1, 0)),
            padding,
        )
        return flat.squeeze(2)
    # backwards: the value at q was at exp(−G) (q − o)
    backwards = torch.matrix_exp(-generators.float())
    origins = -(backwards @ offsets.float().unsqueeze(2))  # (b, ndim, 1)
    # torch counts in half sizes, and the last axis first
    half = torch.tensor(sizes, device=images.device) / 2
    scaled = torch.cat([backwards * half, origins], 2) / half.unsqueeze(1)
    theta = torch.cat([scaled[:, :, :-1].flip(1, 2), scaled[:, :, -1:].flip(1)], 2)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images.float(), grid, padding_mode=_GRID_PADDING[padding], align_corners=False
    )
    return moved if images.is_floating_point() else moved.round().to(images.dtype)


def turn_and_zoom(angles: Tensor, zooms: Tensor, ndim: int) -> Tensor:
    """The generators G for `affine` that turn by an angle in each plane and zoom by a factor.

    A plane for each pair of axes: none in a signal, one in an image, three in a volume. In an image
    a positive angle turns the first axis (down) towards the second (right): counterclockwise.

    Shapes: angles (b, ndim (ndim − 1) / 2) in radians, zooms (b,) logarithms → (b, ndim, ndim).
    """
    planes = [(i, j) for i in range(ndim) for j in range(i + 1, ndim)]
    generators = torch.diag_embed(zooms.unsqueeze(1).expand(-1, ndim))
    for number, (i, j) in enumerate(planes):
        generators[:, i, j] = -angles[:, number]
        generators[:, j, i] = angles[:, number]
    return generators


def mixup(images: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample mixed with its neighbor: λ_i x_i + (1 − λ_i) x_j, and its target alike.

    Neighbors are the samples 0 and 1, 2 and 3, … of the batch. The order of a batch is random, so
    this is as random as any pairing; and since a batch is cut into one part for each process, a
    sample has the same neighbor on any number of processes that leaves them an even part each.

    Args:
        images: (b, C, *spatial), on the unit scale.
        targets: (b, K) distributions over the classes.
        weights: λ (b,), the share of the sample itself.

    Raises:
        ValueError: b is odd.

    Source: Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization.
    """
    if len(images) % 2:
        raise ValueError(
            f"{len(images)} samples cannot be mixed in pairs: let each process have an even number"
        )

    def mixed(values: Tensor) -> Tensor:
        neighbors = values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        return torch.lerp(neighbors, values, _like(weights, values))

    return mixed(images), mixed(targets)


def mixing_weights(alpha: float, uniform: Tensor) -> Tensor:
    """λ ~ Beta(α, α), exactly, from two uniform numbers each.

    t = √(2α (u^{−1/α} − 1)) cos 2πv has Student's distribution with 2α degrees of freedom, and
    λ = ½ + ½ t / √(2α + t²) the one asked for.

    Shapes: uniform (b, 2) in [0, 1) → (b,).

    Source: Bailey 1994, Polar Generation of Random Variates with the t-Distribution; Devroye 1996,
    Random Variate Generation in One Line of Code.
    """
    u, v = uniform.double().unbind(1)
    power, cosine = u.pow(1 / alpha), torch.cos(2 * math.pi * v)
    square = (1 - power) * cosine.square()  # t² / 2α, times u^{1/α}: finite where that is 0
    return (0.5 + 0.5 * cosine.sign() * (square / (power + square)).sqrt()).float()


def _inside(positions: Tensor, size: int, padding: Padding) -> Tensor:
    """Positions on an axis without end, as those of the pixels that are seen there."""
    if padding == "mirror":
        there_and_back = positions.remainder(2 * size)
        return torch.minimum(there_and_back, 2 * size - 1 - there_and_back)
    return positions.clamp(0, size - 1)


def _like(values: Tensor, images: Tensor) -> Tensor:
    """One value for each sample, to be combined with all of the sample's: (b,) → (b, 1, …)."""
    return values.view(-1, *[1] * (images.ndim - 1))
