"""Dropout of 16-bit numbers is dropout."""

import math

import pytest
import torch
from torch import nn

from visarch.performance.dropout import FastDropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_number_goes_with_its_probability_and_the_mean_stays(p: float, dtype: torch.dtype):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001, dtype=dtype)
    y = FastDropout(p)(x).double()
    n = x.numel()
    dropped = float((y == 0).sum())
    assert abs(dropped - n * p) <= 5 * math.sqrt(n * p * (1 - p))
    kept = y[y != 0].unique()
    assert len(kept) == 1
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-5
    assert float(kept) == pytest.approx(1 / (1 - p), rel=rounding + 2**-16 / (1 - p))


def test_numbers_are_dropped_independently():
    torch.manual_seed(1)
    y = FastDropout(0.5)(torch.ones(2**20)) == 0
    for distance in (1, 2, 3, 4, 8, 16):
        together = (y[:-distance] & y[distance:]).float().mean()
        assert abs(float(together) - 0.25) <= 0.003


def test_gradients_pass_where_numbers_did():
    x = torch.randn(50, 20, requires_grad=True)
    y = FastDropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y.detach(), x.detach() * x.grad)


def test_the_generator_decides_and_goes_on():
    dropout, x = FastDropout(0.5), torch.ones(333)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x))
    assert torch.equal(second, dropout(x))
    assert not torch.equal(first, second)


def test_the_mask_is_drawn_in_the_order_of_memory():
    x = torch.ones(2, 3, 4, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    expected = FastDropout(0.5)(torch.ones(2, 4, 5, 3))
    torch.manual_seed(0)
    actual = FastDropout(0.5)(last)
    assert torch.equal(actual.permute(0, 2, 3, 1), expected)
    assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-6])
def test_extremes_are_torchs(p: float):
    x = torch.randn(64)
    torch.manual_seed(0)
    expected = nn.Dropout(p)(x)
    torch.manual_seed(0)
    assert torch.equal(FastDropout(p)(x), expected)


def test_in_eval_mode_it_does_nothing():
    x = torch.randn(8)
    assert FastDropout(0.5).eval()(x) is x
    assert FastDropout(0.5)(torch.ones(0)).shape == (0,)
