"""Receptive fields against gradients: a pixel is seen where the output's derivative is not zero.

To make that an equivalence, all weights are positive and so is the input: nothing cancels and no
ReLU is cut off. GroupNorm, whose statistics are left out of the field, is taken out.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, ConvLayer, SameConv, TransConv
from visarch.blocks.normalization import BatchNorm, GroupNorm
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.describe.networks import describe
from visarch.describe.receptive_field import EVERYTHING, IMAGE, NOTHING, Field, through
from visarch.models import resnet
from visarch.models.resnet import ResNet, ResNetConfig
from visarch.models.unet import UNet, UNetConfig
from visarch.models.vae import GaussianVAE, VAEConfig

SIZE = 192


def positive(module: nn.Module) -> nn.Module:
    """The module in float64 and eval mode, with positive weights and without group norm."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, GroupNorm):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand_like(weight) / weight[0].numel() + 0.01)
    return module.double().eval()


def seen(pixel: Tensor, x: Tensor) -> tuple[float, float]:
    """First and last pixel of a 1-d image (1, C, H) that this output depends on."""
    (gradient,) = torch.autograd.grad(pixel, x, retain_graph=True)
    touched = gradient.abs().sum((0, 1)).nonzero().flatten().tolist()
    return (min(touched), max(touched)) if touched else (math.inf, -math.inf)


def check(module: nn.Module, channels: int) -> None:
    """Around the middle, where no edge matters, the field is what the gradient says."""
    field = through(module, IMAGE)
    x = torch.rand(1, channels, SIZE, dtype=torch.float64, requires_grad=True)
    y = positive(module)(x)
    middle = y.shape[2] // 2
    for pixel in range(middle, middle + max(2, len(field.low))):
        low, high = field.at(pixel)
        assume(math.isinf(low) or (low >= SIZE // 8 and high < SIZE - SIZE // 8))
        assert seen(y[0, 0, pixel], x) == (low, high)


windows = st.integers(1, 5)
strides = st.integers(1, 3)


@st.composite
def boxes(draw: st.DrawFn) -> nn.Module:
    """A 1-d box from two channels to two."""
    window, stride = draw(windows), draw(strides)
    kind = draw(st.sampled_from(["conv", "transposed", "same", "layer", "residual", "bottleneck"]))
    if kind == "conv":
        padding = draw(st.integers(0, 3))
        return Conv(2, 2, window, stride=stride, padding=padding, ndim=1)
    if kind == "transposed":
        padding = draw(st.integers(0, window - 1))
        return TransConv(2, 2, window, stride=stride, padding=padding, ndim=1)
    if kind == "same":
        return SameConv(2, 2, window, stride=stride, ndim=1)
    if kind == "layer":
        return ConvLayer(2, 2, kernel_size=window, ndim=1)
    if kind == "residual":
        return ResidualBlock(2, kernel_size=window, stride=stride, ndim=1)
    return BottleneckBlock(2, 3, kernel_size=window, stride=stride, ndim=1)


@given(st.lists(boxes(), min_size=1, max_size=4))
@settings(max_examples=60)
def test_chains_of_boxes_see_what_their_gradient_says(chain):
    check(nn.Sequential(*chain, BatchNorm(2)), channels=2)


def test_a_transposed_convolution_whose_window_is_smaller_than_its_stride_leaves_gaps():
    field = through(TransConv(1, 1, 1, stride=2, ndim=1), IMAGE)
    assert [field.at(pixel) for pixel in (4, 5, 6)] == [(2, 2), (math.inf, -math.inf), (3, 3)]
    assert field.size == 1


def test_the_pixels_of_one_period_may_see_differently_much():
    # Windows of 3 over pixels that were enlarged by 4 meet one original pixel, or two.
    patches = nn.Sequential(TransConv(1, 1, 4, stride=4, ndim=1), SameConv(1, 1, 3, ndim=1))
    field = through(patches, IMAGE)
    assert [high - low + 1 for low, high in zip(field.low, field.high, strict=True)] == [2, 1, 1, 2]
    assert field.size == 2


def test_all_of_the_image_is_seen_after_attention():
    attn = positive(Attn(2, ndim=1))
    x = torch.rand(1, 2, 11, dtype=torch.float64, requires_grad=True)
    assert seen(attn(x)[0, 0, 3], x) == (0, 10)
    assert through(attn, IMAGE) == EVERYTHING
    assert math.isinf(through(TransConv(2, 2, 4, stride=2, ndim=1), EVERYTHING).size)


fields = st.builds(
    lambda ends, advance: Field(
        tuple(min(pair) for pair in ends), tuple(max(pair) for pair in ends), advance * len(ends)
    ),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=4),
    st.just(2),
)


@given(fields, fields, st.integers(-20, 20))
def test_a_sum_sees_what_either_sees(one, other, pixel):
    both = one | other
    ends = [one.at(pixel), other.at(pixel)]
    assert both.at(pixel) == (min(low for low, _ in ends), max(high for _, high in ends))


@given(fields, st.integers(-20, 20))
def test_whoever_sees_nothing_adds_nothing_and_everything_is_everything(field, pixel):
    assert (field | NOTHING).at(pixel) == field.at(pixel)
    assert math.isinf((field | EVERYTHING).size)


def test_an_unknown_module_is_refused():
    with pytest.raises(TypeError, match="Bilinear"):
        through(nn.Bilinear(1, 1, 1), IMAGE)


class TestNetworks:
    """Every step of a network that stays local, by the gradient of its pixels about the middle."""

    def check(self, model: nn.Module, outputs: dict[str, Tensor], x: Tensor) -> None:
        told = {step.name: step.receptive_field for step in describe(model, x.shape[2:]).steps}
        for name, output in outputs.items():
            middle = output.shape[2] // 2
            ends = [seen(output[0, 0, middle + i], x) for i in range(8)]
            assert all(low > 0 and high < x.shape[2] - 1 for low, high in ends), "make x larger"
            assert told[name] == max(high - low + 1 for low, high in ends), name

    @pytest.mark.parametrize("stem", ["small", "large"])
    @pytest.mark.parametrize("block", ["residual", "bottleneck"])
    def test_resnet(self, stem, block, monkeypatch):
        # The derivative of a maximum is zero but for the largest: the mean's windows are the same.
        monkeypatch.setitem(resnet._MAX_POOL, 1, functional.avg_pool1d)
        config = ResNetConfig(
            in_channels=1, block=block, depths=(1, 2, 1), widths=(2, 3, 3), stem=stem, ndim=1
        )
        model = positive(ResNet(config))
        x = torch.rand(1, 1, 512, dtype=torch.float64, requires_grad=True)
        outputs = model.stages(x)
        y = outputs.pop("y")
        self.check(model, outputs, x)
        assert seen(y[0, 0], x) == (0, 511)
        assert describe(model).steps[-1].receptive_field is None

    def test_unet(self):
        config = UNetConfig(
            in_channels=1,
            widths=(2, 4, 4),
            attends=(False,) * 3,
            num_groups=2,
            context_dim=4,
            ndim=1,
        )
        model = positive(UNet(config))
        outputs: dict[str, Tensor] = {}
        for part in (model.descend, model.ascend):
            for name, step in part.items():
                step.register_forward_hook(
                    lambda _module, _inputs, output, name=name: outputs.update({name: output})
                )
        x = torch.rand(1, 1, 512, dtype=torch.float64, requires_grad=True)
        outputs["y"] = model(x, torch.rand(1, 4, dtype=torch.float64))
        assert {"z9", "y10", "y7_bar", "y7", "y4_bar", "y1", "y"} <= set(outputs)
        self.check(model, outputs, x)

    def test_vae(self):
        model = positive(
            GaussianVAE(
                VAEConfig(image_shape=(1, 128), latent_dim=3, channels=4, depth=2, patch_size=4)
            )
        )
        x = torch.rand(1, 1, 128, dtype=torch.float64, requires_grad=True)
        f_in = model.encoder.f_in(x)
        self.check(model, {"encoder.f_in": f_in, "encoder.h": model.encoder.h(f_in)}, x)
        assert seen(model.encode(x).mean[0, 0], x) == (0, 127)


def test_resnet50_by_hand():
    """One convolution of side 3 in each block: 2 more pixels, times the strides before it."""
    with torch.device("meta"):
        small, large = ResNet(), ResNet(ResNetConfig(stem="large"))
    assert [step.receptive_field for step in describe(small).steps] == [3, 9, 23, 67, 107, None]
    assert [step.receptive_field for step in describe(large).steps] == [11, 35, 91, 267, 427, None]
