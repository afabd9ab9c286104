"""The oracle's convolutions against torch's, which share no code with them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from visarch.reference import convolution as reference

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def draw(rng, *shape):
    return rng.standard_normal(shape)


def on_torch(function, x, weight, bias, **options):
    return function(
        torch.from_numpy(x)[None], torch.from_numpy(weight), torch.from_numpy(bias), **options
    )[0].numpy()


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(1, 1, 0), (2, 3, 1), (3, 2, 1)])
def test_conv_agrees_with_torch(ndim, kernel_size, stride, padding):
    rng = np.random.default_rng(0)
    x, weight, bias = (
        draw(rng, 2, *(5, 4, 6)[:ndim]),
        draw(rng, 3, 2, *[kernel_size] * ndim),
        draw(rng, 3),
    )
    ours = reference.conv(x, {"weight": weight, "bias": bias}, stride=stride, padding=padding)
    theirs = on_torch(CONVOLVE[ndim], x, weight, bias, stride=stride, padding=padding)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(1, 2, 0), (2, 3, 1), (4, 2, 1)])
def test_trans_conv_agrees_with_torch(ndim, kernel_size, stride, padding):
    rng = np.random.default_rng(0)
    x, weight, bias = (
        draw(rng, 2, *(3, 2, 4)[:ndim]),
        draw(rng, 2, 3, *[kernel_size] * ndim),
        draw(rng, 3),
    )
    ours = reference.trans_conv(x, {"weight": weight, "bias": bias}, stride=stride, padding=padding)
    theirs = on_torch(TRANSPOSE[ndim], x, weight, bias, stride=stride, padding=padding)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_matrix_applies_the_convolution(ndim):
    rng = np.random.default_rng(0)
    x, weight = draw(rng, 2, *(5, 4, 3)[:ndim]), draw(rng, 3, 2, *[3] * ndim)
    matrix = reference.conv_matrix(weight, x.shape, stride=2, padding=1)
    y = reference.conv(x, {"weight": weight}, stride=2, padding=1)
    np.testing.assert_allclose((matrix @ x.ravel()).reshape(y.shape), y, rtol=0, atol=1e-12)


def test_the_matrix_of_the_note():
    w1, w2, w3, w4 = weight = np.array([1.0, 2.0, 3.0, 4.0])
    expected = [
        [w1, w2, 0, w3, w4, 0, 0, 0, 0],
        [0, w1, w2, 0, w3, w4, 0, 0, 0],
        [0, 0, 0, w1, w2, 0, w3, w4, 0],
        [0, 0, 0, 0, w1, w2, 0, w3, w4],
    ]
    matrix = reference.conv_matrix(weight.reshape(1, 1, 2, 2), (1, 3, 3))
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_the_lecture_keeps_the_size_for_every_kernel(kernel_size):
    rng = np.random.default_rng(0)
    x, weight = draw(rng, 2, 4, 5), draw(rng, 3, 2, kernel_size, kernel_size)
    before, after = kernel_size // 2, kernel_size - 1 - kernel_size // 2
    padded = functional.pad(torch.from_numpy(x)[None], (before, after, before, after))
    theirs = functional.conv2d(padded, torch.from_numpy(weight))[0]
    ours = reference.conv_same(x, {"weight": weight})
    assert ours.shape == (3, 4, 5)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        reference.conv_layer(x, {"weight": weight}), theirs.relu(), rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(
        reference.conv_same(x, {"weight": weight}, stride=2), ours[:, ::2, ::2]
    )
