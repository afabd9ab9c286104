"""Convolutions against torch.nn's, the lemmas against counting, the matrices against Jacobians."""

import math

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from visarch import (
    Conv,
    ConvLayer,
    TransConv,
    conv_matrix,
    conv_output_size,
    implicit_conv,
    trans_conv_output_size,
)
from visarch.blocks.convolution import SameConv, crop, pad_to_multiple

from .geometries import Geometry, geometries

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}

NOTES_ILLUSTRATION = Geometry(1, 1, 3, 2, 1, (6, 6))  # section 1.1; 6 × 6 gives 3 × 3
NOTES_TRANSPOSED = Geometry(1, 1, 3, 2, 1, (3, 3))  # section 1.2; 3 × 3 gives 5 × 5


def make(box: type[nn.Module], geometry: Geometry, **options) -> nn.Module:
    """Ours, or one of torch's, which has its dimension in its name."""
    sizes = (geometry.in_channels, geometry.out_channels, geometry.kernel_size)
    return box(*sizes, **geometry.options, **options).double()


def conv_of(geometry: Geometry, bias: bool = True) -> Conv:
    return make(Conv, geometry, ndim=geometry.ndim, bias=bias)


def trans_conv_of(geometry: Geometry, bias: bool = True) -> TransConv:
    return make(TransConv, geometry, ndim=geometry.ndim, bias=bias)


def values_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and gradients for the input and every parameter, of a random function of it."""
    x = x.clone().requires_grad_()
    y = module(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    sources = [x, *(parameter for _, parameter in sorted(module.named_parameters()))]
    return [y, *torch.autograd.grad((y * direction).sum(), sources)]


def assert_equal(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# Conv and TransConv are torch's.


@given(geometry=geometries(), bias=st.booleans())
@example(geometry=NOTES_ILLUSTRATION, bias=True)
def test_conv_computes_what_torch_computes(geometry: Geometry, bias: bool):
    ours, theirs = conv_of(geometry, bias), make(CONVOLUTIONS[geometry.ndim], geometry, bias=bias)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = geometry.image()
    assert_equal(values_and_gradients(ours, x), values_and_gradients(theirs, x))


@given(geometry=geometries(transposed=True), bias=st.booleans())
@example(geometry=NOTES_TRANSPOSED, bias=True)
def test_trans_conv_computes_what_torch_computes(geometry: Geometry, bias: bool):
    ours = trans_conv_of(geometry, bias)
    theirs = make(TRANSPOSED[geometry.ndim], geometry, bias=bias)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = geometry.image()
    assert_equal(values_and_gradients(ours, x), values_and_gradients(theirs, x))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("box", "peers"), [(Conv, CONVOLUTIONS), (TransConv, TRANSPOSED)])
def test_weights_start_where_torchs_do(box, peers, ndim: int):
    torch.manual_seed(3)
    ours = box(4, 6, 3, ndim=ndim).state_dict()
    torch.manual_seed(3)
    theirs = peers[ndim](4, 6, 3).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@given(geometry=geometries(transposed=True))
@example(geometry=NOTES_TRANSPOSED)
def test_trans_conv_is_a_convolution_with_flipped_filters_over_a_spread_input(geometry: Geometry):
    trans_conv, x = trans_conv_of(geometry), geometry.image()
    stride, axes = geometry.stride, range(2, x.ndim)

    spread = x.new_zeros(*x.shape[:2], *((size - 1) * stride + 1 for size in geometry.sizes))
    spread[(..., *(slice(None, None, stride),) * geometry.ndim)] = x
    edge = geometry.kernel_size - 1 - geometry.padding
    spread = functional.pad(spread, (edge, edge) * geometry.ndim)
    flipped = trans_conv.weight.flip(list(axes)).transpose(0, 1)

    expected = CONVOLVE[geometry.ndim](spread, flipped, trans_conv.bias)
    assert_equal(trans_conv(x), expected)


# Output sizes: lemmas 1.1 and 1.3.


@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 7), data=st.data())
def test_conv_output_size_counts_the_windows(size: int, kernel: int, stride: int, data):
    padding = data.draw(st.integers(max(0, math.ceil((kernel - size) / 2)), 9))
    starts = range(0, size + 2 * padding - kernel + 1, stride)
    assert conv_output_size(size, kernel, stride, padding) == len(starts)


@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 7), data=st.data())
def test_a_convolution_undoes_the_size_of_its_transpose(size, kernel, stride, data):
    padding = data.draw(st.integers(0, kernel - 1))
    assume((size - 1) * stride + kernel - 2 * padding >= 1)
    larger = trans_conv_output_size(size, kernel, stride, padding)
    assert larger == (size - 1) * stride + 1 + 2 * (kernel - 1 - padding) - kernel + 1
    assert conv_output_size(larger, kernel, stride, padding) == size


@given(geometry=geometries())
def test_conv_has_the_size_of_the_lemma(geometry: Geometry):
    expected = [
        conv_output_size(n, geometry.kernel_size, **geometry.options) for n in geometry.sizes
    ]
    assert list(conv_of(geometry)(geometry.image()).shape[2:]) == expected


@given(geometry=geometries(transposed=True))
def test_trans_conv_has_the_size_of_the_lemma(geometry: Geometry):
    expected = [
        trans_conv_output_size(n, geometry.kernel_size, **geometry.options) for n in geometry.sizes
    ]
    assert list(trans_conv_of(geometry)(geometry.image()).shape[2:]) == expected


# The matrix of a convolution: facts 1.2 and 1.4.


def apply(matrix: Tensor, x: Tensor, out_shape: tuple[int, ...]) -> Tensor:
    """(V vec(x)).view(C', H', …) for each image of a batch."""
    return (matrix @ x.flatten(1).T).T.reshape(len(x), *out_shape)


@given(geometry=geometries())
@example(geometry=NOTES_ILLUSTRATION)
def test_the_matrix_applies_the_convolution(geometry: Geometry):
    conv, x = conv_of(geometry), geometry.image()
    y = conv(x)
    bias = conv.bias.view(-1, *(1,) * geometry.ndim)
    matrix = conv_matrix(conv, tuple(x.shape[1:]))
    assert_equal(apply(matrix, x, y.shape[1:]) + bias, y)


@given(geometry=geometries())
def test_the_matrix_is_the_jacobian(geometry: Geometry):
    conv, x = conv_of(geometry), geometry.image(batch=1)
    jacobian = torch.func.jacrev(conv)(x)
    matrix = conv_matrix(conv, tuple(x.shape[1:])).to_dense()
    assert_equal(matrix, jacobian.reshape(matrix.shape))


@given(geometry=geometries())
def test_the_matrix_is_coalesced(geometry: Geometry):
    """It says so, and it is: no entry twice, in the order of rows and columns."""
    matrix = conv_matrix(conv_of(geometry), (geometry.in_channels, *geometry.sizes)).detach()
    assert matrix.is_coalesced()
    again = torch.sparse_coo_tensor(
        matrix.indices(), matrix.values(), matrix.shape, check_invariants=True
    ).coalesce()
    assert torch.equal(matrix.indices(), again.indices())
    assert torch.equal(matrix.values(), again.values())


@given(geometry=geometries())
def test_gradients_reach_the_weights_through_the_matrix(geometry: Geometry):
    conv, x = conv_of(geometry, bias=False), geometry.image()
    y = conv(x)
    direction = torch.randn_like(y)
    (expected,) = torch.autograd.grad((y * direction).sum(), conv.weight)
    through_matrix = apply(conv_matrix(conv, tuple(x.shape[1:])), x, y.shape[1:])
    (actual,) = torch.autograd.grad((through_matrix * direction).sum(), conv.weight)
    assert_equal(actual, expected)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_matrix_of_a_layer_has_the_rows_that_the_layer_keeps(kernel_size: int, stride: int):
    conv = SameConv(2, 3, kernel_size, stride=stride).double()
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    y = conv(x)
    assert_equal(apply(conv_matrix(conv, (2, 5, 4)), x, y.shape[1:]), y)


def test_the_matrix_of_the_notes_example():
    conv = Conv(1, 1, 2)
    conv.weight.data = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [
        [1, 2, 0, 3, 4, 0, 0, 0, 0],
        [0, 1, 2, 0, 3, 4, 0, 0, 0],
        [0, 0, 0, 1, 2, 0, 3, 4, 0],
        [0, 0, 0, 0, 1, 2, 0, 3, 4],
    ]
    assert conv_matrix(conv, (1, 3, 3)).to_dense().tolist() == expected


def test_the_notes_transposed_example():
    """Section 1.2: a 2 × 2 image under a 2 × 2 filter, whose nine outputs it writes out."""
    trans_conv = TransConv(1, 1, 2, bias=False)
    trans_conv.weight.data = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    y = trans_conv(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert y[0, 0].tolist() == [[1, 12, 20], [103, 1234, 2040], [300, 3400, 4000]]


@given(geometry=geometries(transposed=True))
@example(geometry=NOTES_TRANSPOSED)
def test_trans_conv_applies_the_transposed_matrix_of_its_implicit_conv(geometry: Geometry):
    trans_conv, x = trans_conv_of(geometry), geometry.image()
    y = trans_conv(x)
    matrix = conv_matrix(implicit_conv(trans_conv), tuple(y.shape[1:]))
    bias = trans_conv.bias.view(-1, *(1,) * geometry.ndim)
    assert_equal(apply(matrix.t(), x, y.shape[1:]) + bias, y)


@given(geometry=geometries(transposed=True))
def test_trans_conv_is_adjoint_to_its_implicit_conv(geometry: Geometry):
    trans_conv, x = trans_conv_of(geometry, bias=False), geometry.image()
    enlarged = trans_conv(x)
    y = torch.randn_like(enlarged)
    assert_equal((enlarged * y).sum(), (x * implicit_conv(trans_conv)(y)).sum())


def test_the_implicit_conv_shares_its_weight():
    trans_conv = TransConv(3, 5, 4, stride=2, padding=1, ndim=1)
    conv = implicit_conv(trans_conv)
    assert conv.weight is trans_conv.weight
    assert conv.bias is None


def test_the_implicit_conv_draws_no_numbers():
    trans_conv, state = TransConv(3, 5, 4), torch.get_rng_state()
    implicit_conv(trans_conv)
    assert torch.equal(torch.get_rng_state(), state)


# The lecture's convolutional layer, and its Pad.


def padded(x: Tensor, kernel_size: int) -> Tensor:
    """Pad(x): x moved by ⌊k/2⌋, zeros before it, and zeros wherever a window looks past its end."""
    moved = x.new_zeros(*x.shape[:2], *(size + kernel_size - 1 for size in x.shape[2:]))
    inside = (slice(kernel_size // 2, kernel_size // 2 + size) for size in x.shape[2:])
    moved[(..., *inside)] = x
    return moved


@given(
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_the_same_conv_reads_the_lectures_padding(kernel_size: int, stride: int, sizes: list[int]):
    ndim = len(sizes)
    conv = SameConv(2, 3, kernel_size, stride=stride, bias=True, ndim=ndim).double()
    x = torch.randn(2, 2, *sizes, dtype=torch.float64)
    expected = CONVOLVE[ndim](padded(x, kernel_size), conv.weight, conv.bias, stride)
    assert_equal(conv(x), expected)
    assert conv(x).shape[2:] == tuple(math.ceil(size / stride) for size in sizes)


@given(kernel_size=st.integers(1, 5), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=30)
def test_the_layer_is_relu_of_windows_of_the_padded_image(kernel_size: int, sizes: list[int]):
    """z[c, i] = ReLU(Σ_c' ⟨W[c, c'], Pad(x)[c', i : i + k]⟩), pixel by pixel."""
    layer = ConvLayer(2, 3, kernel_size=kernel_size, ndim=len(sizes)).double()
    assert [name for name, _ in layer.named_parameters()] == ["conv.weight"]
    x = torch.randn(1, 2, *sizes, dtype=torch.float64)
    z, pad = layer(x), padded(x, kernel_size)
    assert z.shape == (1, 3, *sizes)
    for pixel in torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes)).tolist():
        window = pad[(0, slice(None), *(slice(i, i + kernel_size) for i in pixel))]
        expected = (layer.conv.weight * window).flatten(1).sum(1).clamp(min=0)
        assert_equal(z[(0, slice(None), *pixel)], expected)


def test_a_layer_with_bias_has_one():
    layer = ConvLayer(2, 3, bias=True, ndim=1)
    x = torch.zeros(1, 2, 4)
    torch.testing.assert_close(layer(x)[0, :, 0], layer.conv.bias.clamp(min=0))


# Padding and cropping to what the halvings of a U-Net need.


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    multiple=st.integers(1, 8),
)
def test_padding_is_the_least_and_cropping_undoes_it(sizes: list[int], multiple: int):
    x = torch.rand(2, 3, *sizes)
    larger = pad_to_multiple(x, multiple)
    for size, padded_size in zip(sizes, larger.shape[2:], strict=True):
        assert padded_size % multiple == 0
        assert 0 <= padded_size - size < multiple
    assert torch.equal(crop(larger, sizes), x)
    assert larger.sum().item() == pytest.approx(x.sum().item(), rel=1e-5)


# What is refused, and what is said.

REFUSED = {
    "in channels": (lambda: Conv(0, 1, 1), "Conv: in_channels is 0.*at least 1"),
    "out channels": (lambda: Conv(1, -2, 1), "Conv: out_channels is -2.*at least 1"),
    "kernel": (lambda: Conv(1, 1, 0), "Conv: .*kernel_size (is )?0.*at least 1"),
    "stride": (lambda: Conv(1, 1, 1, stride=0), "Conv: .*stride (is )?0.*at least 1"),
    "padding": (lambda: Conv(1, 1, 1, padding=-1), "Conv: .*padding (is )?-1.*at least 0"),
    "axes": (lambda: Conv(1, 1, 1, ndim=4), "Conv: ndim is 4.*1, 2 or 3"),
    "transposed kernel": (
        lambda: TransConv(1, 1, 0),
        "TransConv: .*kernel_size (is )?0.*at least 1",
    ),
    "transposed axes": (lambda: TransConv(1, 1, 1, ndim=0), "TransConv: ndim is 0.*1, 2 or 3"),
    "transposed padding": (
        lambda: TransConv(1, 1, 3, padding=3),
        "P = 3 is more than F − 1 = 2.*between 0 and 2",
    ),
    "negative transposed padding": (
        lambda: TransConv(1, 1, 3, padding=-1),
        "TransConv: .*padding (is )?-1.*at least 0",
    ),
    "layer's kernel": (lambda: ConvLayer(1, 1, kernel_size=0), "kernel_size (is )?0.*at least 1"),
    "channels of the input": (
        lambda: Conv(3, 1, 1)(torch.zeros(2, 4, 5, 5)),
        r"\(2, 4, 5, 5\).*2-d with 3 channels.*\(batch, 3, height, width\)",
    ),
    "axes of the input": (
        lambda: Conv(3, 1, 1, ndim=3)(torch.zeros(2, 3, 5, 5)),
        r"\(2, 3, 5, 5\).*3-d.*\(batch, 3, depth, height, width\)",
    ),
    "channels of the transposed input": (
        lambda: TransConv(3, 1, 1, ndim=1)(torch.zeros(2, 4, 5)),
        r"TransConv.*\(2, 4, 5\).*1-d with 3 channels.*\(batch, 3, length\)",
    ),
    "window larger than the image": (
        lambda: Conv(1, 1, 5, padding=1)(torch.zeros(1, 1, 9, 2)),
        r"F = 5 does not fit a side of 2 padded by 1.*at most H \+ 2P = 4",
    ),
    "window larger than the side": (
        lambda: conv_output_size(3, 4),
        r"F = 4 does not fit a side of 3.*at most H \+ 2P = 3",
    ),
    "a window of several sides": (lambda: Conv(1, 1, (3, 3)), r"kernel_size is \(3, 3\).*integer"),
    "half a stride": (lambda: TransConv(1, 1, 3, stride=1.5), "stride is 1.5.*integer"),
    "half a padding": (lambda: Conv(1, 1, 3, padding=0.5), "padding is 0.5.*integer"),
    "side of the lemma": (lambda: conv_output_size(0, 1), "size 0.*at least 1"),
    "kernel of the lemma": (lambda: conv_output_size(5, 0), "kernel_size 0.*at least 1"),
    "stride of the lemma": (lambda: conv_output_size(5, 3, 0), "stride 0.*at least 1"),
    "negative padding of the lemma": (
        lambda: conv_output_size(5, 3, padding=-1),
        "padding -1.*at least 0",
    ),
    "stride of the transposed lemma": (
        lambda: trans_conv_output_size(5, 3, 0),
        "stride 0.*at least 1",
    ),
    "negative padding of the transposed lemma": (
        lambda: trans_conv_output_size(5, 3, padding=-1),
        "padding -1.*at least 0",
    ),
    "nothing left": (
        lambda: trans_conv_output_size(1, 4, padding=2),
        "side of 1 .*F = 4.*S = 1.*P = 2 .*= 0.*at least 1.*P ≤ 1",
    ),
    "nothing left of the input": (
        lambda: TransConv(1, 1, 4, padding=3)(torch.zeros(1, 1, 4, 2)),
        "side of 2 .*P = 3 .*= -1.*P ≤ 2",
    ),
    "padding of the lemma": (
        lambda: trans_conv_output_size(5, 3, padding=3),
        "P = 3 is more than F − 1 = 2.*between 0 and 2",
    ),
    "channels of the matrix": (
        lambda: conv_matrix(Conv(3, 1, 1), (2, 5, 5)),
        r"input_shape \(2, 5, 5\).*C = 3 and 2 spatial sizes",
    ),
    "axes of the matrix": (
        lambda: conv_matrix(Conv(3, 1, 1), (3, 5)),
        r"input_shape \(3, 5\).*C = 3 and 2 spatial sizes",
    ),
    "window larger than the matrix's image": (
        lambda: conv_matrix(Conv(1, 1, 3), (1, 5, 2)),
        "F = 3 does not fit a side of 2",
    ),
}


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
