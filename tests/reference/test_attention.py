"""The oracle's attention against torch's multi-head attention."""

import numpy as np
import pytest
import torch

from visarch.reference import attention as reference


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("spatial", [(5,), (2, 3), (2, 1, 3)])
def test_attn_agrees_with_torch(num_heads, spatial):
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(8, num_heads, batch_first=True, dtype=torch.float64)
    torch.nn.init.normal_(theirs.in_proj_bias)
    x = torch.randn(8, *spatial, dtype=torch.float64)
    pixels = x.reshape(8, -1).T[None]
    expected = theirs(pixels, pixels, pixels, need_weights=False)[0][0].T.reshape(x.shape)
    weights = {
        "projection.weight": theirs.in_proj_weight,
        "projection.bias": theirs.in_proj_bias,
        "output.weight": theirs.out_proj.weight,
        "output.bias": theirs.out_proj.bias,
    }
    arrays = {name: value.detach().numpy() for name, value in weights.items()}
    y = reference.attn(x.numpy(), arrays, num_heads=num_heads)
    np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-12)


def test_softmax_survives_large_scores():
    rows = reference.softmax(np.array([[1e4, 1e4], [-1e4, 0.0]]))
    np.testing.assert_array_equal(rows, [[0.5, 0.5], [0.0, 1.0]])
