"""Convolutions as matrix products give what convolutions give, gradients included."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from visarch import Conv
from visarch.blocks.convolution import SameConv
from visarch.performance import small_maps
from visarch.performance.preparation import quicken
from visarch.performance.small_maps import FastConv, FastSameConv

HALF_STEP = 2**-8
"""The largest relative error of rounding to bf16, twice."""


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of what was computed as a matrix product."""
    shapes: list[torch.Size] = []
    gather = small_maps._Windows.gather

    def noted(self: small_maps._Windows, x: Tensor) -> Tensor:
        shapes.append(x.shape)
        return gather(self, x)

    monkeypatch.setattr(small_maps._Windows, "gather", noted)
    return shapes


def gradients(conv: nn.Module, x: Tensor, of_y: Tensor, *, low: bool) -> list[Tensor]:
    """Output and all gradients."""
    x = x.detach().requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        y = conv(x)
    y.backward(of_y.to(y.dtype))
    assert x.grad is not None
    found = [y.detach(), x.grad, *(p.grad for p in conv.parameters() if p.grad is not None)]
    assert all(p.dtype == p.grad.dtype for p in conv.parameters() if p.grad is not None)
    return [tensor.float() for tensor in found]


def compare(conv: Conv, x: Tensor) -> None:
    """With the definition in float64, on numbers that bf16 holds."""
    conv, x = conv.bfloat16().float(), x.bfloat16().float()
    fast = copy.deepcopy(conv)
    quicken(fast)
    exact = copy.deepcopy(conv).double()
    of_y = torch.randn_like(exact(x.double())).bfloat16()
    actual = gradients(fast, x, of_y, low=True)
    expected = gradients(exact, x.double(), of_y.double(), low=False)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() <= HALF_STEP * b.norm()
        assert (a - b).abs().max() <= 4 * HALF_STEP * b.abs().max()


@given(
    kernel_size=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    sides=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    bias=st.booleans(),
    same=st.booleans(),
)
def test_it_is_a_convolution(kernel_size, stride, padding, sides, bias, same):
    kind = small_maps._MOST_PIXELS, small_maps._FEWEST_CHANNELS
    small_maps._MOST_PIXELS, small_maps._FEWEST_CHANNELS = 200, 1
    try:
        if same:
            conv = SameConv(5, 6, kernel_size, stride=stride, bias=bias)
        else:
            conv = Conv(5, 6, kernel_size, stride=stride, padding=padding, bias=bias)
        compare(conv, torch.randn(3, 5, *sides))
    finally:
        small_maps._MOST_PIXELS, small_maps._FEWEST_CHANNELS = kind


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_small_maps_of_many_channels_are_products(layout, products):
    compare(
        Conv(160, 128, 3, padding=1), torch.randn(2, 160, 4, 4).contiguous(memory_format=layout)
    )
    assert products == [(2, 160, 4, 4)]


@pytest.mark.parametrize(
    ("conv", "shape", "low"),
    [
        (Conv(128, 128, 3, padding=1), (2, 128, 5, 4), True),
        (Conv(127, 128, 3, padding=1), (2, 127, 4, 4), True),
        (Conv(128, 128, 3, padding=1), (2, 128, 4, 4), False),
        (Conv(128, 128, 3, padding=1, ndim=1), (2, 128, 4), True),
        (Conv(128, 128, 3, padding=1, ndim=3), (2, 128, 2, 2, 2), True),
    ],
)
def test_all_else_is_torchs(conv, shape, low, products):
    fast = copy.deepcopy(conv)
    quicken(fast)
    x = torch.randn(shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        assert torch.equal(fast(x), conv(x))
    assert not products


def test_it_stays_what_it_was():
    conv = Conv(128, 128, 3, padding=1)
    fast = copy.deepcopy(conv)
    quicken(fast)
    assert type(fast) is FastConv
    assert fast.state_dict().keys() == conv.state_dict().keys()
    assert repr(fast).replace("FastConv", "Conv") == repr(conv)
    same = SameConv(128, 128, 2)
    quicken(same)
    assert type(same) is FastSameConv


def test_wrong_inputs_are_told_as_before():
    fast = Conv(128, 128, 3)
    quicken(fast)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match="channels"):
            fast(torch.randn(2, 127, 4, 4))
        with pytest.raises(ValueError, match="does not fit"):
            fast(torch.randn(2, 128, 2, 2))


def test_what_needs_no_gradient_gets_none():
    conv = Conv(128, 128, 3, padding=1)
    quicken(conv)
    conv.weight.requires_grad_(False)
    x = torch.randn(2, 128, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        conv(x).sum().backward()
    assert conv.weight.grad is None
    assert conv.bias is not None
    torch.testing.assert_close(conv.bias.grad, torch.full((128,), 32.0))
