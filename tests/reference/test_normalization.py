"""The oracle's normalization against torch's."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from visarch.reference import normalization as reference


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((2, 6, 2, 3)) + 1
    weights = {"weight": rng.standard_normal(6), "bias": rng.standard_normal(6)}
    return x, weights, [torch.from_numpy(weights[name]) for name in ("weight", "bias")]


def test_batch_norm_agrees_with_torch(case):
    x, weights, (gamma, beta) = case
    mean, variance = torch.full((6,), 0.5).double(), torch.full((6,), 2.0).double()
    weights |= {"running_mean": mean.numpy().copy(), "running_var": variance.numpy().copy()}
    batch = torch.from_numpy(x)

    at_test = functional.batch_norm(batch, mean, variance, gamma, beta)
    np.testing.assert_allclose(
        reference.batch_norm(x, weights, training=False), at_test, rtol=0, atol=1e-12
    )
    running = reference.running_average(x, weights)
    in_training = functional.batch_norm(batch, mean, variance, gamma, beta, training=True)
    np.testing.assert_allclose(reference.batch_norm(x, weights), in_training, rtol=0, atol=1e-12)
    np.testing.assert_allclose(running[0], mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(running[1], variance, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("box", "groups"),
    [
        (reference.layer_norm, 1),
        (reference.instance_norm, 6),
        (lambda x, weights: reference.group_norm(x, weights, num_groups=3), 3),
    ],
)
def test_the_others_agree_with_torch(case, box, groups):
    x, weights, (gamma, beta) = case
    expected = functional.group_norm(torch.from_numpy(x), groups, gamma, beta)
    np.testing.assert_allclose(box(x, weights), expected, rtol=0, atol=1e-12)


def test_select_sets_have_the_sizes_of_the_note():
    shape, index = (2, 6, 2, 3), (1, 4, 0, 2)
    assert reference.select_batch(index, shape).sum() == 2 * 2 * 3
    assert reference.select_layer(index, shape).sum() == 6 * 2 * 3
    assert reference.select_instance(index, shape).sum() == 2 * 3
    group = reference.select_group(3)(index, shape)
    assert group.sum() == 2 * 2 * 3
    assert group[1, 4:6].all()
