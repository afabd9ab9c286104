"""Attention against torch.nn's, against the note's steps head by head, and its symmetries."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from visarch import Attn, attention

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def image(channels: int, sizes: tuple[int, ...], batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, *sizes, dtype=torch.float64)


def make(channels: int, ndim: int, **heads: int | None) -> Attn:
    """With biases that are not zero, as torch's are at the start."""
    attn = Attn(channels, **heads, ndim=ndim).double()
    nn.init.normal_(attn.projection.bias)
    nn.init.normal_(attn.output.bias)
    return attn


def assert_equal(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@given(num_heads=st.integers(1, 4), head_dim=st.integers(1, 4), sizes=SIZES)
def test_attn_computes_what_torch_computes(num_heads: int, head_dim: int, sizes: tuple[int, ...]):
    channels = num_heads * head_dim
    ours = make(channels, len(sizes), num_heads=num_heads)
    theirs = nn.MultiheadAttention(channels, num_heads, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.projection.weight,
            "in_proj_bias": ours.projection.bias,
            "out_proj.weight": ours.output.weight,
            "out_proj.bias": ours.output.bias,
        }
    )
    x = image(channels, sizes)
    pixels = x.flatten(2).mT
    expected, _ = theirs(pixels, pixels, pixels, need_weights=False)
    assert_equal(ours(x), expected.mT.reshape(x.shape))


@given(
    channels=st.integers(1, 5),
    num_heads=st.integers(1, 3),
    head_dim=st.integers(1, 4),
    sizes=SIZES,
)
def test_attn_follows_the_note_head_by_head(channels, num_heads, head_dim, sizes):
    """Steps 1 to 5 of section 1.3, for any K and d, on one image."""
    attn, x = (
        make(channels, len(sizes), num_heads=num_heads, head_dim=head_dim),
        image(channels, sizes, batch=1),
    )
    shape = (3, num_heads, head_dim)  # query, key, value; h; d
    weight = attn.projection.weight.view(*shape, channels)
    bias = attn.projection.bias.view(shape)

    x_txt = x.view(channels, -1).T
    heads = []
    for h in range(num_heads):
        query, key, value = (x_txt @ weight[z, h].T + bias[z, h] for z in range(3))
        scores = (query @ key.T / math.sqrt(head_dim)).exp()
        heads.append(scores / scores.sum(dim=1, keepdim=True) @ value)
    y_txt = torch.cat(heads, dim=1) @ attn.output.weight.T + attn.output.bias
    assert_equal(attn(x), y_txt.T.reshape(x.shape))


@given(heads=st.lists(st.integers(1, 3), max_size=2), n=st.integers(1, 6), d=st.integers(1, 4))
def test_the_written_out_equation_is_the_fused_one(heads: list[int], n: int, d: int):
    query, key, value = torch.randn(3, *heads, n, d, dtype=torch.float64)
    fused = functional.scaled_dot_product_attention(query, key, value)
    assert_equal(attention(query, key, value), fused)


@given(n=st.integers(1, 6), d=st.integers(1, 4))
def test_each_output_is_a_mixture_of_the_values(n: int, d: int):
    query, key, value = 5 * torch.randn(3, n, d, dtype=torch.float64)
    mixed = attention(query, key, value)
    assert (mixed <= value.amax(0) + 1e-12).all()
    assert (mixed >= value.amin(0) - 1e-12).all()
    assert_equal(attention(query, key, torch.ones_like(value)), torch.ones_like(value))


@given(sizes=SIZES)
def test_where_a_pixel_is_does_not_matter(sizes: tuple[int, ...]):
    attn, x = make(4, len(sizes), num_heads=2), image(4, sizes)
    order = torch.randperm(math.prod(sizes))
    shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
    assert_equal(attn(shuffled).flatten(2), attn(x).flatten(2)[:, :, order])


def test_the_weights_are_those_of_the_note():
    attn = Attn(6, num_heads=4, head_dim=5)
    shapes = {name: tuple(tensor.shape) for name, tensor in attn.state_dict().items()}
    assert shapes == {
        "projection.weight": (3 * 4 * 5, 6),
        "projection.bias": (3 * 4 * 5,),
        "output.weight": (6, 4 * 5),
        "output.bias": (6,),
    }
    assert Attn(12, num_heads=3).head_dim == 4


def test_gradients_are_right():
    attn = make(2, 1, num_heads=2, head_dim=2)
    x = image(2, (3,)).requires_grad_()
    weights = dict(attn.named_parameters())

    def of_everything(x: Tensor, *tensors: Tensor) -> Tensor:
        return torch.func.functional_call(attn, dict(zip(weights, tensors, strict=True)), (x,))

    assert torch.autograd.gradcheck(of_everything, (x, *weights.values()))


REFUSED = {
    "heads that do not divide": (
        lambda: Attn(12, num_heads=5),
        r"5 heads do not divide 12 channels.*\[1, 2, 3, 4, 6, 12\].*head_dim",
    ),
    "no channels": (lambda: Attn(0), "channels 0.*at least 1"),
    "no heads": (lambda: Attn(4, num_heads=0), "num_heads 0.*at least 1"),
    "empty heads": (lambda: Attn(4, head_dim=0), "head_dim 0.*at least 1"),
    "axes": (lambda: Attn(4, ndim=4), "ndim is 4.*1, 2 or 3"),
    "channels of the input": (
        lambda: Attn(4)(torch.zeros(1, 3, 2, 2)),
        r"Attn.*\(1, 3, 2, 2\).*2-d with 4 channels.*\(batch, 4, height, width\)",
    ),
    "axes of the input": (
        lambda: Attn(4)(torch.zeros(1, 4, 2)),
        r"Attn.*\(1, 4, 2\).*2-d with 4 channels",
    ),
}


@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
