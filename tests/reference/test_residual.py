"""The oracle's residual blocks against the same written with torch's functions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from visarch.reference import residual as reference


def draw_weights(shapes):
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.standard_normal(shape)
        if len(shape) == 1:
            weights[f"{name}.bias"] = rng.standard_normal(shape)
    return weights, {name: torch.from_numpy(value) for name, value in weights.items()}


def norm(x, w, name):
    return functional.batch_norm(
        x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block(stride):
    shapes = {"conv1": (3, 2, 3, 3), "norm1": (3,), "conv2": (3, 3, 3, 3), "norm2": (3,)}
    weights, w = draw_weights(shapes | {"shortcut.0": (3, 2, 1, 1), "shortcut.1": (3,)})
    x = np.random.default_rng(1).standard_normal((2, 2, 4, 4))
    batch = torch.from_numpy(x)
    u = norm(functional.conv2d(batch, w["conv1.weight"], stride=stride, padding=1), w, "norm1")
    z = norm(functional.conv2d(u.relu(), w["conv2.weight"], padding=1), w, "norm2")
    short = norm(functional.conv2d(batch, w["shortcut.0.weight"], stride=stride), w, "shortcut.1")
    ours = reference.residual_block(x, weights, stride=stride)
    np.testing.assert_allclose(ours, (z + short).relu(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("block", [reference.bottleneck_block, reference.res_block_res])
def test_bottleneck_block(block):
    shapes = {
        "conv1": (2, 4, 1, 1),
        "norm1": (2,),
        "conv2": (2, 2, 3, 3),
        "norm2": (2,),
        "conv3": (4, 2, 1, 1),
        "norm3": (4,),
    }
    weights, w = draw_weights(shapes)
    x = np.random.default_rng(1).standard_normal((2, 4, 3, 4))
    batch = torch.from_numpy(x)
    u = norm(functional.conv2d(batch, w["conv1.weight"]), w, "norm1")
    v = norm(functional.conv2d(u.relu(), w["conv2.weight"], padding=1), w, "norm2")
    z = norm(functional.conv2d(v.relu(), w["conv3.weight"]), w, "norm3")
    np.testing.assert_allclose(block(x, weights), (z + batch).relu(), rtol=0, atol=1e-11)
