"""Packed layers compute what PyTorch's own functions compute, for any size and in any order."""

import copy
import pickle
import runpy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from visarch import Conv, TransConv
from visarch.blocks.convolution import SameConv
from visarch.blocks.normalization import GroupNorm
from visarch.performance import packing, quantization
from visarch.performance.packed_blocks import PackedGroupNorm
from visarch.performance.packing import PackedConv, PackedLinear, PackedTransConv, can_pack

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu")), reason="PyTorch was built without oneDNN"
)

TOLERANCES = {torch.float32: 1e-6, torch.bfloat16: 4e-3}
"""of the numbers' scale: bf16 keeps 8 bits, and rounds the result to them"""

precisions = st.sampled_from(list(TOLERANCES))
small = st.integers(1, 7)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).square().mean().sqrt()
    scale = expected.double().square().mean().sqrt().clamp(min=1.0)  # of the terms that are summed
    assert error <= TOLERANCES[actual.dtype] * scale


def rounded(tensor: Tensor, precision: torch.dtype) -> Tensor:
    """In float64, with no more than the digits of a precision."""
    return tensor.detach().to(precision).double()


def is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


@given(
    precision=precisions,
    batch=st.integers(1, 3),
    channels=small,
    out_channels=small,
    kernel_size=st.integers(1, 4),
    stride=st.integers(1, 2),
    height=st.integers(1, 16),
    width=st.integers(1, 9),
    relu=st.booleans(),
    added=st.sampled_from([None, "pixels", "reused", "context"]),
    bias=st.booleans(),
)
@torch.no_grad()
def test_a_packed_convolution(
    precision,
    batch,
    channels,
    out_channels,
    kernel_size,
    stride,
    height,
    width,
    relu,
    added,
    bias,
):
    assume(stride == 1 or added is None)
    conv = SameConv(channels, out_channels, kernel_size, stride=stride, bias=bias)
    packed = PackedConv(conv.to(precision), activation="relu" if relu else None)
    x = torch.randn(batch, channels, height, width)
    weights = {name: rounded(tensor, precision) for name, tensor in conv.named_parameters()}
    expected = torch.func.functional_call(conv.double(), weights, rounded(x, precision))
    summand = None
    if added is not None:
        size = (*expected.shape[:2], 1, 1) if added == "context" else expected.shape
        summand = torch.randn(size).to(precision).contiguous(memory_format=torch.channels_last)
        expected = expected + summand.double()
    actual = packed(x, summand, reuse=added == "reused")
    assert (summand is not None and actual.data_ptr() == summand.data_ptr()) == (added == "reused")
    assert actual.dtype == precision
    assert_near(actual, expected.relu() if relu else expected)


@pytest.mark.parametrize("kernel_size", [2, 3, 7])
@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_tall_images_with_a_stride(kernel_size: int, width: int):
    conv = SameConv(8, 16, kernel_size, stride=2)
    packed = PackedConv(conv.bfloat16())
    x = torch.randn(2, 8, 17, width).bfloat16()
    actual = packed(x)
    assert_near(actual, conv.double()(x.double()))
    assert is_channels_last(actual)


@pytest.mark.parametrize("precision", TOLERANCES)
@torch.no_grad()
def test_it_gives_channels_last_whatever_it_is_given(precision: torch.dtype):
    packed = PackedConv(Conv(4, 6, 3, padding=1).to(precision))
    x = torch.randn(2, 4, 5, 5)
    first = packed(x)
    second = packed(x.to(memory_format=torch.channels_last))
    assert is_channels_last(first)
    assert is_channels_last(second)
    assert_near(first, second)


@given(
    precision=precisions,
    batch=st.integers(1, 3),
    channels=small,
    out_channels=small,
    geometry=st.sampled_from([(1, 1, 0), (4, 2, 1), (2, 2, 0), (3, 1, 1), (4, 4, 0)]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
@torch.no_grad()
def test_a_packed_transposed_convolution(
    precision, batch, channels, out_channels, geometry, height, width
):
    kernel_size, stride, padding = geometry
    conv = TransConv(channels, out_channels, kernel_size, stride=stride, padding=padding)
    packed = PackedTransConv(conv.to(precision))
    x = torch.randn(batch, channels, height, width).to(precision)
    expected = functional.conv_transpose2d(
        x.double(),
        rounded(conv.weight, precision),
        rounded(conv.bias, precision),
        stride=stride,
        padding=padding,
    )
    assert_near(packed(x), expected)


@given(precision=precisions, rows=st.integers(1, 40), inputs=small, outputs=small)
@torch.no_grad()
def test_a_packed_linear_layer(precision, rows, inputs, outputs):
    linear = nn.Linear(inputs, outputs)
    packed = PackedLinear(linear.to(precision))
    x = torch.randn(rows, inputs).to(precision)
    expected = functional.linear(
        x.double(), rounded(linear.weight, precision), rounded(linear.bias, precision)
    )
    assert_near(packed(x), expected)
    assert_near(packed(x.view(1, rows, inputs)), expected[None])
    if precision == torch.bfloat16:
        assert torch.equal(packed(x.float()), packed(x))


@pytest.mark.parametrize(
    ("channels", "groups", "side", "computes_in"),
    [
        (64, 4, 5, torch.bfloat16),  # 16 numbers at a time
        (64, 8, 5, torch.float32),  # 8
        (64, 8, 32, torch.bfloat16),  # of 1,024 pixels: 64
        (8, 2, 32, torch.float32),
    ],
)
@torch.no_grad()
def test_a_packed_group_norm(channels: int, groups: int, side: int, computes_in):
    norm = GroupNorm(channels, num_groups=groups)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    packed, x = PackedGroupNorm(norm), torch.randn(2, channels, side, side).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    expected = functional.group_norm(
        x.double(), groups, norm.weight.double(), norm.bias.double(), norm.epsilon
    )
    for precision, gives in ((torch.bfloat16, computes_in), (torch.float32, torch.float32)):
        y = packed(x.to(precision))
        assert y.dtype == gives
        assert is_channels_last(y)
        assert_near(y, expected)


LAYERS = {
    "convolution": (lambda: PackedConv(Conv(64, 64, 3, padding=1).bfloat16()), (64,)),
    "transposed": (lambda: PackedTransConv(TransConv(8, 8, 3, padding=1).bfloat16()), (8,)),
}


@pytest.mark.parametrize(("make", "channels"), LAYERS.values(), ids=LAYERS)
@torch.no_grad()
def test_after_images_of_another_shape_the_weights_are_the_same(make, channels):
    layer = make()
    weight = layer.weight.clone()
    images = [torch.randn(b, *channels, s, s).bfloat16() for b, s in ((1, 4), (3, 32), (2, 9))]
    alone = []
    for x in images:
        fresh = copy.deepcopy(layer)
        alone.append(fresh(x))
    together = [layer(x) for x in images]
    assert all(torch.equal(*pair) for pair in zip(together, alone, strict=True))
    assert torch.equal(layer.weight, weight)


@torch.no_grad()
def test_a_layout_that_several_shapes_share_is_kept_once():
    packed = PackedConv(Conv(64, 64, 1).bfloat16())
    for batch in (1, 2, 3):
        packed(torch.randn(batch, 64, 8, 8))
    assert len(packed._layouts) == 3
    assert len({id(layout) for layout in packed._layouts.values()}) == 1


@pytest.mark.parametrize("used", [False, True])
@torch.no_grad()
def test_copies_and_pickles_compute_the_same(used: bool):
    packed = PackedConv(Conv(4, 6, 3), activation="relu")
    x = torch.randn(2, 4, 5, 5)
    if used:
        packed(x)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(other(x), packed(x))


def test_only_a_cpu_packs():
    assert not can_pack(torch.device("cuda"))


@pytest.mark.parametrize("module", [packing, quantization], ids=["packing", "quantization"])
def test_a_pytorch_without_onednn_can_load_it(module, monkeypatch: pytest.MonkeyPatch):
    for name in ("mkldnn", "onednn"):
        monkeypatch.setattr(torch.ops, name, SimpleNamespace())
    assert runpy.run_path(module.__file__)
