"""In integers a ResNet gives nearly the same, and each layer exactly what its integers say."""

import copy
import pickle

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests.models.variants import VARIANTS
from tests.models.weights import randomize
from visarch import Conv, ResNet
from visarch.blocks.convolution import SameConv
from visarch.performance import inference, quantization
from visarch.performance.folding import fold_batch_norms
from visarch.performance.inference import optimize_for_inference
from visarch.performance.packing import can_pack
from visarch.performance.quantization import Grid, QuantizedConv, can_quantize, observe

packs = pytest.mark.skipif(
    not (can_pack(torch.device("cpu")) and can_quantize()), reason="no units for eight bits"
)

RESNETS = [name for name in VARIANTS if name.startswith("resnet") and name[-2:] not in ("1d", "3d")]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual - expected).norm() / expected.norm())


@given(low=st.floats(-100, 100), width=st.floats(0, 100))
@example(low=0.0, width=0.0)
@example(low=0.0, width=1e-45)
def test_a_grid_holds_zero_and_is_fine(low: float, width: float):
    grid = Grid.covering(low, low + width)
    assert 0 <= grid.zero <= 255
    assert grid.numbers(torch.tensor([grid.zero])) == 0
    x = torch.linspace(low, low + width, 50)
    assert (grid.numbers(grid.integers(x)) - x).abs().max() <= 1.01 * grid.scale


def test_what_lies_outside_of_a_grid_goes_to_its_ends():
    grid = Grid.covering(-1.0, 3.0)
    ends = grid.numbers(grid.integers(torch.tensor([-9.0, 9.0])))
    torch.testing.assert_close(ends, torch.tensor([-1.0, 3.0]), rtol=0, atol=grid.scale)


@packs
@given(
    kernel_size=st.sampled_from([1, 3, 7]),
    stride=st.integers(1, 2),
    channels=st.integers(1, 9),
    out_channels=st.integers(1, 9),
    size=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    low=st.floats(-2, 0),
    relu=st.booleans(),
    sums=st.booleans(),
    dead=st.booleans(),
)
@torch.no_grad()
def test_a_convolution_of_integers(
    kernel_size, stride, channels, out_channels, size, low, relu, sums, dead
):
    assume(stride == 1 or not sums)
    conv = SameConv(channels, out_channels, kernel_size, stride=stride, bias=True)
    conv.weight[0] *= not dead
    batch, height, width = size
    entering, leaving, added = (Grid.covering(low * k, 2.0 * k) for k in (1, 2, 1.5))
    layer = QuantizedConv(conv, entering, leaving, added=added, activation="relu" if relu else None)
    x = torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8)

    exact = functional.conv2d(
        entering.numbers(x).double(),
        layer.weight.double() * layer.scale.double()[:, None, None, None],
        conv.bias.double(),
        stride=stride,
        padding=conv.padding,
    )
    summand = None
    if sums:
        summand = torch.randint(0, 256, exact.shape, dtype=torch.uint8)
        summand = summand.contiguous(memory_format=torch.channels_last)
        exact = exact + added.numbers(summand).double()
    exact = exact.relu() if relu else exact
    expected = (exact / leaving.scale + leaving.zero).clamp(0, 255)

    actual = layer(x.contiguous(memory_format=torch.channels_last), summand)
    assert actual.dtype == torch.uint8
    assert (actual.double() - expected).abs().max() <= 0.51


@packs
@pytest.mark.parametrize("kernel_size", [3, 7])
@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_tall_images_with_a_stride(kernel_size: int, width: int):
    conv = SameConv(8, 16, kernel_size, stride=2, bias=True)
    entering, leaving = Grid.covering(-1, 2), Grid.covering(-2, 2)
    q = torch.randint(0, 256, (2, 8, 17, width), dtype=torch.uint8)
    actual = leaving.numbers(QuantizedConv(conv, entering, leaving)(q))
    expected = conv(entering.numbers(q)).clamp(-2, 2)
    assert relative_error(actual, expected) <= 0.03


@packs
@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_resnet_of_integers_gives_nearly_the_same(name: str, batch: int):
    model = randomize(VARIANTS[name].make())
    images = torch.rand(64, 3, 17, 12) - 0.3
    kept = images.clone()
    fast = optimize_for_inference(model, "int8", calibration=images)
    with torch.no_grad():
        expected, stages = model(images[:batch]), model.stages(images[:batch])
    assert relative_error(fast(images[:batch]), expected) <= 0.03
    actual = fast.stages(images[:batch])
    assert actual.keys() == stages.keys()
    for step, z in stages.items():
        assert relative_error(actual[step], z) <= 0.05, step
    assert torch.equal(images, kept)
    assert torch.equal(fast(images), fast(images))


@packs
def test_every_convolution_is_of_integers_and_the_model_stays_as_it_is():
    model = VARIANTS["resnet-bottleneck-small-stem"].make().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = optimize_for_inference(model, "int8", calibration=torch.rand(4, 3, 8, 8))
    convs = [module for module in model.modules() if isinstance(module, Conv)]
    quantized = [module for module in fast.modules() if isinstance(module, QuantizedConv)]
    assert len(convs) == len(quantized)
    assert all(layer.weight.dtype == torch.int8 for layer in quantized)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@packs
def test_it_serves_images_of_other_sizes_and_copies_are_the_same():
    model = randomize(VARIANTS["resnet-residual-large-stem"].make())
    fast = optimize_for_inference(model, "int8", calibration=torch.rand(64, 3, 17, 12))
    for shape in ((1, 3, 17, 12), (5, 3, 9, 30), (2, 3, 33, 1)):
        x = torch.rand(shape)
        with torch.no_grad():
            assert relative_error(fast(x), model(x)) <= 0.1
        for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            assert torch.equal(other(x), fast(x))


def test_what_was_seen_covers_all_images():
    resnet = fold_batch_norms(randomize(VARIANTS["resnet-features-only"].make()))
    assert isinstance(resnet, ResNet)
    images = torch.rand(70, 3, 5, 5)
    images[69, 0, 0, 0] = 9.0
    ranges = observe(resnet, images)
    assert ranges["conv.input"] == (0.0, 9.0)
    low, high = ranges["stacks.1.output"]
    assert low == 0
    with torch.no_grad():
        assert high == pytest.approx(resnet.stages(images)["z2"].max().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("images", "answer"),
    [
        (torch.rand(0, 3, 8, 8), r"shape \(0, 3, 8, 8\) holds no images"),
        (torch.full((2, 3, 8, 8), float("nan")), "not finite"),
    ],
    ids=["none", "not finite"],
)
def test_what_nothing_can_be_learned_from_is_no_calibration(images: Tensor, answer: str):
    with pytest.raises(ValueError, match=answer):
        observe(ResNet(VARIANTS["resnet-features-only"].make().config), images)


def test_int8_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch):
    model, images = VARIANTS["resnet-features-only"].make(), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="calibration is missing"):
        optimize_for_inference(model, "int8")
    with pytest.raises(ValueError, match="calibration is given"):
        optimize_for_inference(model, "bf16", calibration=images)
    for name in ("unet-literal", "resnet-1d"):
        with pytest.raises(ValueError, match="a ResNet of images on a CPU"):
            optimize_for_inference(VARIANTS[name].make(), "int8", calibration=images)
    monkeypatch.setattr(inference, "can_quantize", lambda: False)
    with pytest.raises(ValueError, match="no units for int8"):
        optimize_for_inference(model, "int8", calibration=images)


def test_units_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    for units, expected in (({"avx512_vnni": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units)
        assert quantization.can_quantize() == expected
