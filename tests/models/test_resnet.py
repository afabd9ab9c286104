"""The ResNets: sizes at every step, parameters as published, images of any size."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from visarch import ResNet, ResNetConfig, resnet18, resnet34, resnet50, resnet101, resnet152
from visarch.models.resnet import ResBlockRes, ResStack

from .weights import randomize

TINY = {"depths": (2, 1, 1), "widths": (4, 5, 6)}


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_resnet50_has_the_parameters_of_the_specification():
    with torch.device("meta"):
        assert num_parameters(resnet50()) == 23_500_352


# As published with torchvision, for 1,000 classes under the 7×7 stem.
PUBLISHED = {
    resnet18: 11_689_512,
    resnet34: 21_797_672,
    resnet50: 25_557_032,
    resnet101: 44_549_160,
    resnet152: 60_192_808,
}


@pytest.mark.parametrize(("preset", "expected"), PUBLISHED.items())
def test_the_presets_have_the_published_parameters(preset, expected: int):
    with torch.device("meta"):
        small = preset(num_classes=1000)
        large = ResNet(dataclasses.replace(small.config, stem="large"))
    assert num_parameters(large) == expected
    assert num_parameters(small) == expected - 64 * 3 * (7**2 - 3**2)


def test_every_step_of_resnet50_has_the_size_of_the_note():
    with torch.device("meta"):
        model, x = resnet50(), torch.empty(2, 3, 32, 32)
        steps = {name: tuple(z.shape) for name, z in model.stages(x).items()}
        y = model(x)
    assert steps == {
        "z": (2, 64, 32, 32),
        "z1": (2, 256, 32, 32),
        "z2": (2, 512, 16, 16),
        "z3": (2, 1024, 8, 8),
        "z4": (2, 2048, 4, 4),
        "y": (2, 2048),
    }
    assert y.shape == (2, 2048)


@pytest.mark.parametrize("block", ["bottleneck", "residual"])
@pytest.mark.parametrize("stem", ["small", "large"])
@pytest.mark.parametrize("sizes", [(1, 1), (7, 5), (33, 50), (101,), (9, 8, 7)])
@pytest.mark.parametrize("in_channels", [1, 5])
def test_any_image_size_and_channels(block, stem, sizes: tuple[int, ...], in_channels: int):
    config = ResNetConfig(in_channels, block=block, stem=stem, ndim=len(sizes), **TINY)
    model = ResNet(config).eval()
    with torch.no_grad():
        steps = model.stages(torch.rand(2, in_channels, *sizes))

    expansion = 4 if block == "bottleneck" else 1
    reduction = 1 if stem == "small" else 4
    assert steps["z"].shape == (2, 4, *(math.ceil(size / reduction) for size in sizes))
    for index, width in enumerate(TINY["widths"]):
        sides = (math.ceil(size / (reduction * 2**index)) for size in sizes)
        assert steps[f"z{index + 1}"].shape == (2, width * expansion, *sides)
    assert steps["y"].shape == (2, config.num_features) == (2, 6 * expansion)


def test_the_vector_is_the_mean_of_the_last_pixels_and_the_classes_are_linear_in_it():
    model = randomize(ResNet(ResNetConfig(num_classes=3, **TINY)))
    x = torch.rand(2, 3, 16, 12)
    steps = model.stages(x)
    assert list(steps) == ["z", "z1", "z2", "z3", "y"]
    torch.testing.assert_close(steps["y"], steps["z3"].mean((2, 3)))
    assert torch.equal(model.features(x), steps["y"])
    weight, bias = model.classifier.weight, model.classifier.bias
    torch.testing.assert_close(model(x), steps["y"] @ weight.T + bias)


def test_without_classes_the_output_is_the_vector():
    model = randomize(ResNet(ResNetConfig(**TINY)))
    x = torch.rand(2, 3, 16, 12)
    assert model.classifier is None
    assert torch.equal(model(x), model.features(x))


def test_dropout_is_on_the_features_while_training_and_only_then():
    model = ResNet(ResNetConfig(num_classes=3, dropout=0.5, **TINY))
    for norm in (module for module in model.modules() if hasattr(module, "running_mean")):
        norm.eval()  # so that dropout alone differs between two calls
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(model.features(x), model.features(x))
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model.classifier(model.features(x)))


def test_a_stack_takes_its_stride_in_the_first_block_on_the_window_of_three():
    stack = ResStack(8, 4, num_blocks=3, stride=2)
    assert all(isinstance(block, ResBlockRes) for block in stack)
    strides = [[block.conv1.stride, block.conv2.stride, block.conv3.stride] for block in stack]
    assert strides == [[1, 2, 1], [1, 1, 1], [1, 1, 1]]
    assert [isinstance(block.shortcut, nn.Identity) for block in stack] == [False, True, True]
    assert stack.out_channels == 16


def test_a_stack_is_its_blocks_in_a_row():
    stack = ResStack(3, 4, num_blocks=2, stride=2, block="residual").eval()
    x = torch.rand(2, 3, 9, 9)
    assert torch.equal(stack(x), stack[1](stack[0](x)))


def test_the_large_stem_is_a_window_of_seven_and_a_pool_of_three():
    model = randomize(ResNet(ResNetConfig(stem="large", **TINY)))
    x = torch.rand(2, 3, 20, 17)
    z = functional.conv2d(x, model.conv.weight, stride=2, padding=3)
    expected = functional.max_pool2d(functional.relu(model.norm(z)), 3, stride=2, padding=1)
    torch.testing.assert_close(model.stages(x)["z"], expected)


def test_convolutions_start_with_he_variances():
    """Variance 2 / (C' k²), so that the gradient keeps its size through ReLU."""
    model = ResNet(ResNetConfig(depths=(1, 1), widths=(32, 64)))
    for name, weight in model.named_parameters():
        if weight.ndim == 4:
            fan_out = weight.shape[0] * weight[0, 0].numel()
            assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.15), name


def test_the_presets_take_classes_channels_and_axes():
    with torch.device("meta"):
        model = resnet18(10, 1, 3)
        assert model(torch.empty(2, 1, 8, 8, 8)).shape == (2, 10)
        assert resnet101(num_classes=7, in_channels=2, ndim=1).config == ResNetConfig(
            2, 7, depths=(3, 4, 23, 3), ndim=1
        )


@pytest.mark.usefixtures("as_for_users")
def test_a_configuration_read_from_json_is_the_same():
    assert ResNetConfig(depths=[3, 4, 6, 3], widths=[64, 128, 256, 512]) == ResNetConfig()
    assert hash(ResNetConfig(depths=[1, 1], widths=[4, 4])) is not None


REFUSED = {
    "no stacks": (lambda: ResNetConfig(depths=(), widths=()), r"depths \(\).*widths \(\)"),
    "depths and widths": (
        lambda: ResNetConfig(depths=(1, 2), widths=(4,)),
        r"depths \(1, 2\) and widths \(4,\) must be equally long",
    ),
    "an empty stack": (
        lambda: ResNetConfig(depths=(1, 0), widths=(4, 4)),
        r"depths is \(1, 0\).*at least 1",
    ),
    "block": (lambda: ResNetConfig(block="basic"), "block is 'basic'.*bottleneck, residual"),
    "stem": (lambda: ResNetConfig(stem="tiny"), "stem is 'tiny'.*small, large"),
    "no channels": (lambda: ResNetConfig(in_channels=0), "in_channels is 0.*at least 1"),
    "no width": (
        lambda: ResNetConfig(depths=(1,), widths=(0,)),
        r"widths is \(0,\).*at least 1",
    ),
    "axes": (lambda: ResNetConfig(ndim=4), "ndim is 4.*1, 2, 3"),
    "no classes": (lambda: ResNetConfig(num_classes=0), "num_classes is 0.*at least 1"),
    "dropout": (lambda: ResNetConfig(dropout=1.5), r"dropout is 1.5.*\[0, 1\)"),
    "channels of the input": (
        lambda: ResNet(ResNetConfig(**TINY))(torch.zeros(2, 1, 8, 8)),
        r"ResNet.*\(2, 1, 8, 8\).*2-d with 3 channels.*\(batch, 3, height, width\)",
    ),
    "axes of the input": (
        lambda: ResNet(ResNetConfig(ndim=3, **TINY))(torch.zeros(2, 3, 8, 8)),
        r"ResNet.*\(2, 3, 8, 8\).*3-d.*\(batch, 3, depth, height, width\)",
    ),
}


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()


@pytest.mark.parametrize("stem", ["small", "large"])
@torch.no_grad()
def test_inputs_are_normalized_where_that_was_asked_for(stem):
    config = ResNetConfig(num_classes=2, depths=(1,), widths=(4,), stem=stem)
    model, x = randomize(ResNet(config)), torch.rand(2, 3, 16, 12)
    mean, deviation = torch.tensor([0.5, 0.4, 0.1]), torch.tensor([0.2, 0.3, 2.0])
    z = (x - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    expected = {"stages": model.stages(z), "features": model.features(z), "logits": model(z)}
    names = list(model.state_dict())
    model.normalize_inputs(mean.tolist(), deviation.tolist())
    found = {"stages": model.stages(x), "features": model.features(x), "logits": model(x)}
    torch.testing.assert_close(found, expected)
    assert list(model.state_dict()) == names  # it is no part of the weights

    fast = model.optimize_for_inference(precision="fp32")
    torch.testing.assert_close(fast(x), expected["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [((0.0,), (1.0,)), ((0.0,) * 3, (1.0,) * 2), ((0.0,) * 3, (1.0, 0.0, 1.0))],
)
def test_a_normalization_has_a_number_for_each_channel(mean, deviation):
    with pytest.raises(ValueError, match="each must have 3 numbers"):
        ResNet(ResNetConfig(depths=(1,), widths=(4,))).normalize_inputs(mean, deviation)
