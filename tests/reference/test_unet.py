"""The oracle's U-Net blocks against the same written with torch's functions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from visarch.reference import unet as reference


@pytest.mark.parametrize("out_channels", [2, 4])
def test_res_block_u(out_channels):
    rng = np.random.default_rng(0)
    shapes = {
        "norm1": (2,),
        "conv1": (out_channels, 2, 3, 3),
        "context": (out_channels, 5),
        "norm2": (out_channels,),
        "conv2": (out_channels, out_channels, 3, 3),
    }
    if out_channels != 2:
        shapes["shortcut"] = (out_channels, 2, 1, 1)
    weights = {f"{name}.weight": rng.standard_normal(shape) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": rng.standard_normal(shape[0]) for name, shape in shapes.items()}
    x, u = rng.standard_normal((2, 3, 4)), rng.standard_normal(5)
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def at(name):
        return w[f"{name}.weight"], w[f"{name}.bias"]

    image, context = torch.from_numpy(x)[None], torch.from_numpy(u)[None]
    z = functional.conv2d(
        functional.silu(functional.group_norm(image, 2, *at("norm1"))), *at("conv1"), padding=1
    )
    z = z + functional.linear(functional.silu(context), *at("context"))[:, :, None, None]
    z = functional.conv2d(
        functional.silu(functional.group_norm(z, 2, *at("norm2"))), *at("conv2"), padding=1
    )
    expected = z + (image if out_channels == 2 else functional.conv2d(image, *at("shortcut")))
    ours = reference.res_block_u(x, u, weights, num_groups=2)
    np.testing.assert_allclose(ours, expected[0], rtol=0, atol=1e-11)
