import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from visarch.training.ema import PowerEma, gamma_of_width


class Numbers(nn.Module):
    """One parameter and one buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.register_buffer("average", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]), persistent=False)


def sequence(length, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 3))


@given(st.floats(0.01, 0.28), st.integers(1, 60))
def test_it_is_the_literal_average(width, length):
    model = Numbers()
    ema = PowerEma(model, width)
    gamma = gamma_of_width(width)
    expected = np.zeros(3)
    for t, values in enumerate(sequence(length), start=1):
        model.weight.data.copy_(torch.from_numpy(values))
        model.average.copy_(torch.from_numpy(-values))
        model.count.fill_(t)
        ema.update()
        beta = (1 - 1 / t) ** (gamma + 1)
        expected = beta * expected + (1 - beta) * values
    np.testing.assert_allclose(ema.model.weight.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(ema.model.average.numpy(), -expected, atol=1e-12)
    assert ema.model.count == length
    assert ema.model.mask.tolist() == [0, float("-inf")]


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.25])
def test_its_profile_is_as_wide_as_asked(width):
    length = 4000
    # the average of unit impulses, all at once, is the profile itself
    gamma = gamma_of_width(width)
    profile = np.zeros(length)
    for t in range(1, length + 1):
        beta = (1 - 1 / t) ** (gamma + 1)
        profile *= beta
        profile[t - 1] = 1 - beta
    times = (np.arange(length) + 0.5) / length
    mean = (profile * times).sum()
    spread = np.sqrt((profile * (times - mean) ** 2).sum())
    assert profile.sum() == pytest.approx(1)
    assert spread == pytest.approx(width, rel=0.01)


def test_the_first_update_forgets_the_initial_weights():
    model = Numbers()
    model.weight.data.fill_(1e30)
    ema = PowerEma(model, 0.05)
    model.weight.data.fill_(0.1)
    ema.update()
    assert torch.equal(ema.model.weight, model.weight)


def test_a_constant_stays_what_it_is():
    model = Numbers()
    model.weight.data.fill_(0.1)
    ema = PowerEma(model, 0.05)
    for _ in range(50):
        ema.update()
    assert torch.equal(ema.model.weight, model.weight)


def test_the_average_is_another_model_in_eval_mode_without_gradients():
    model = Numbers().train()
    ema = PowerEma(model, 0.05)
    assert not ema.model.training
    assert model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("width", [0, -0.1, 0.29, 1])
def test_widths_out_of_range_are_refused(width):
    with pytest.raises(ValueError, match=f"width is {width}"):
        gamma_of_width(width)
