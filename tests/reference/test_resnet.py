"""The oracle's ResNet: what it adds to the blocks that are tested on their own."""

import numpy as np

from visarch.reference import residual
from visarch.reference import resnet as reference
from visarch.reference.convolution import conv, relu
from visarch.reference.normalization import batch_norm
from visarch.reference.weights import part


def draw_block(rng, channels, inner, corrects):
    shapes = {
        "conv1": (inner, channels, 1, 1),
        "norm1": (inner,),
        "conv2": (inner, inner, 3, 3),
        "norm2": (inner,),
        "conv3": (4 * inner, inner, 1, 1),
        "norm3": (4 * inner,),
    }
    if corrects:
        shapes |= {"shortcut.0": (4 * inner, channels, 1, 1), "shortcut.1": (4 * inner,)}
    weights = {f"{name}.weight": rng.standard_normal(shape) for name, shape in shapes.items()}
    norms = [name for name, shape in shapes.items() if len(shape) == 1]
    return weights | {f"{name}.bias": rng.standard_normal(shapes[name]) for name in norms}


def under(name, weights):
    return {f"{name}.{key}": value for key, value in weights.items()}


def test_average_pooling():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    np.testing.assert_array_equal(reference.avg_pool(x), x.mean((2, 3)))


def test_only_the_first_block_of_a_stack_takes_the_stride():
    rng = np.random.default_rng(0)
    first, second = draw_block(rng, 2, 1, corrects=True), draw_block(rng, 4, 1, corrects=False)
    x = rng.standard_normal((2, 2, 4, 4))
    y = reference.res_stack(x, under("0", first) | under("1", second), num_blocks=2, stride=2)
    expected = residual.res_block_res(residual.res_block_res(x, first, stride=2), second)
    assert y.shape == (2, 4, 2, 2)
    np.testing.assert_array_equal(y, expected)


def test_the_steps_of_a_small_network():
    rng = np.random.default_rng(0)
    weights = (
        {"conv.weight": rng.standard_normal((2, 3, 3, 3))}
        | {"norm.weight": rng.standard_normal(2), "norm.bias": rng.standard_normal(2)}
        | under("stacks.0.0", draw_block(rng, 2, 1, corrects=True))
        | under("stacks.1.0", draw_block(rng, 4, 2, corrects=True))
    )
    x = rng.standard_normal((2, 3, 4, 4))
    steps = reference.resnet(x, weights, depths=(1, 1))
    sizes = {"z": (2, 4, 4), "z1": (4, 4, 4), "z2": (8, 2, 2), "y": (8,)}
    assert {name: step.shape[1:] for name, step in steps.items()} == sizes
    stem = np.stack([conv(image, part(weights, "conv"), padding=1) for image in x])
    np.testing.assert_array_equal(steps["z"], relu(batch_norm(stem, part(weights, "norm"))))
    np.testing.assert_array_equal(steps["y"], steps["z2"].mean((2, 3)))
