"""Attention by its equation gives what the fused kernel gives, gradients included."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from visarch import Attn
from visarch.performance import small_attention
from visarch.performance.preparation import quicken

STEP = 2**-7
"""The largest relative error of rounding to bf16, four times."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of queries that the equation was computed for."""
    shapes: list[torch.Size] = []
    equation = small_attention.attention

    def noted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        shapes.append(query.shape)
        return equation(query, key, value)

    monkeypatch.setattr(small_attention, "attention", noted)
    return shapes


def results(attn: nn.Module, x: Tensor, of_y: Tensor, *, low: bool) -> list[Tensor]:
    """Output and all gradients."""
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        y = attn(x)
    y.backward(of_y.to(y.dtype))
    assert x.grad is not None
    return [tensor.float() for tensor in (y.detach(), x.grad, *(p.grad for p in attn.parameters()))]


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.data())
def test_it_is_the_definition(num_heads: int, head_dim: int, side: int, ndim: int, data):
    channels = data.draw(st.integers(1, 5))
    sides = [side, *[2] * (ndim - 1)]
    attn = Attn(channels, num_heads=num_heads, head_dim=head_dim, ndim=ndim).bfloat16().float()
    x, of_y = torch.randn(2, 2, channels, *sides).bfloat16().float()
    exact, fast = copy.deepcopy(attn).double(), copy.deepcopy(attn)
    quicken(fast)
    assert type(fast) is small_attention.FastAttn
    assert fast.state_dict().keys() == attn.state_dict().keys()
    actual = results(fast, x, of_y, low=True)
    expected = results(exact, x.double(), of_y.double(), low=False)
    largest = max(float(tensor.abs().max()) for tensor in expected)
    for a, b in zip(actual, expected, strict=True):
        # some gradients cancel (those of a single pixel's query and key are 0)
        assert (a - b).abs().max() <= 2 * STEP * (b.abs().max() + largest)


@pytest.mark.parametrize(
    ("side", "low", "gradient", "expected"),
    [
        (7, True, True, True),
        (16, True, True, True),
        (17, True, True, False),
        (7, False, True, False),
        (7, True, False, False),
    ],
)
def test_where_it_is_the_faster(written, side: int, low: bool, gradient: bool, expected: bool):
    attn = Attn(8, num_heads=2)
    quicken(attn)
    with torch.set_grad_enabled(gradient), torch.autocast("cpu", torch.bfloat16, enabled=low):
        attn(torch.randn(3, 8, side, side))
    assert written == ([(3, 2, side * side, 4)] if expected else [])
