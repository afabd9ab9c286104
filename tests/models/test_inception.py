"""Inception-v3 against its layers computed one by one, as the FID's weights name them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from visarch.models.inception import Inception, inception_input, load_inception

from .weights import randomize


@pytest.fixture(scope="module")
def model() -> Inception:
    """With weights that keep the scale of what passes through 94 layers."""
    torch.manual_seed(0)
    model = randomize(Inception())
    for name, parameter in model.named_parameters():
        if name.endswith("conv.weight"):
            nn.init.kaiming_normal_(parameter)
    return model


# Name, convolution (kernel sides, stride, padded or not): all that is not 1 × 1.
SPECIAL = {
    "Conv2d_1a_3x3": (3, 3, 2, False),
    "Conv2d_2a_3x3": (3, 3, 1, False),
    "Conv2d_4a_3x3": (3, 3, 1, False),
    "Mixed_6a.branch3x3": (3, 3, 2, False),
    "Mixed_6a.branch3x3dbl_3": (3, 3, 2, False),
    "Mixed_7a.branch3x3_2": (3, 3, 2, False),
    "Mixed_7a.branch7x7x3_4": (3, 3, 2, False),
}
BRANCHES = {
    "5": ["branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"],
    "6a": ["branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "maximum"],
    "6": [
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
    ],
    "7a": [
        "branch3x3_1 branch3x3_2",
        "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        "maximum",
    ],
    "7": [
        "branch1x1",
        "branch3x3_1 branch3x3_2a",
        "branch3x3_1 branch3x3_2b",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3b",
    ],
}


def unit(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """One convolution with its normalization, from the bare weights."""
    weight = weights[f"{name}.conv.weight"]
    height, width, stride, pad = SPECIAL.get(name, (*weight.shape[2:], 1, True))
    assert weight.shape[2:] == (height, width)
    padding = (height // 2, width // 2) if pad else (0, 0)
    x = functional.conv2d(x, weight, None, stride, padding)
    scale = weights[f"{name}.bn.weight"] / (weights[f"{name}.bn.running_var"] + 1e-3).sqrt()
    shift = weights[f"{name}.bn.bias"] - scale * weights[f"{name}.bn.running_mean"]
    return (x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).clamp(min=0)


def average(x: Tensor) -> Tensor:
    """The mean over those of the nine neighbors that are in the image."""
    ones = torch.ones_like(x[:1, :1])
    kernel = torch.ones(1, 1, 3, 3)
    total = functional.conv2d(x.flatten(0, 1).unsqueeze(1), kernel, padding=1).view(x.shape)
    return total / functional.conv2d(ones, kernel, padding=1)


def mixed(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    kind = BRANCHES.get(name.removeprefix("Mixed_")) or BRANCHES[name.removeprefix("Mixed_")[0]]
    results = []
    for branch in kind:
        if branch == "maximum":
            results.append(functional.max_pool2d(x, 3, 2))
            continue
        y = x
        for part in branch.split():
            y = unit(weights, f"{name}.{part}", y)
        results.append(y)
    if f"{name}.branch_pool.conv.weight" in weights:
        last = name == "Mixed_7c"
        pooled = functional.max_pool2d(x, 3, 1, 1) if last else average(x)
        results.append(unit(weights, f"{name}.branch_pool", pooled))
    return torch.cat(results, 1)


@torch.no_grad()
def test_it_is_its_layers_one_by_one(model: Inception):
    weights = model.state_dict()
    images = torch.rand(2, 3, 32, 40)
    x = inception_input(images)
    for name in ("1a_3x3", "2a_3x3", "2b_3x3"):
        x = unit(weights, f"Conv2d_{name}", x)
    x = functional.max_pool2d(x, 3, 2)
    for name in ("3b_1x1", "4a_3x3"):
        x = unit(weights, f"Conv2d_{name}", x)
    x = functional.max_pool2d(x, 3, 2)
    shapes = {}
    for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        x = mixed(weights, f"Mixed_{name}", x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["5b"] == (256, 35, 35)
    assert shapes["5d"] == (288, 35, 35)
    assert shapes["6e"] == (768, 17, 17)
    assert shapes["7a"] == (1280, 8, 8)
    assert shapes["7c"] == (2048, 8, 8)

    features = model(images)
    assert features.shape == (2, 2048)
    assert (features[0] - features[1]).std() > 0.01 * features.std()
    torch.testing.assert_close(features, x.mean((2, 3)), rtol=1e-4, atol=1e-5 * float(x.std()))


def test_its_size_is_the_published_one(model: Inception):
    """torchvision's Inception3 without the auxiliary head has 23,834,568 for 1000 classes."""
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 23_834_568 + 8 * 2049
    convolutions = [name for name in model.state_dict() if name.endswith("conv.weight")]
    assert len(convolutions) == 94
    names = set(model.state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.bn.running_mean", "fc.bias"} < names
    assert {"Mixed_6e.branch7x7dbl_5.conv.weight", "Mixed_7c.branch_pool.bn.weight"} < names


# What the network is given


def test_images_are_resized_between_pixel_centers():
    """Bilinearly, with no smoothing, on −1 … 1: each output lies between the two nearest pixels."""
    row = torch.rand(4)
    result = inception_input(row.view(1, 1, 1, 4).expand(1, 3, 2, 4))
    assert result.shape == (1, 3, 299, 299)
    pixels = (256 * row).floor() / 255
    place = ((torch.arange(299) + 0.5) * 4 / 299 - 0.5).clamp(0, 3)
    left = place.floor().long()
    right = (left + 1).clamp(max=3)
    expected = 2 * torch.lerp(pixels[left], pixels[right], place - left) - 1
    torch.testing.assert_close(result, expected.expand(1, 3, 299, 299))


def test_images_have_eight_bits():
    x = torch.tensor([-0.2, 0.0, 0.5, 0.999, 1.0, 1.3]).view(-1, 1, 1, 1)
    levels = (inception_input(x)[:, 0, 0, 0] + 1) * 255 / 2
    torch.testing.assert_close(levels, torch.tensor([0.0, 0.0, 128.0, 255.0, 255.0, 255.0]))


@torch.no_grad()
def test_gray_images_are_gray_in_three_colors(model: Inception):
    gray = torch.rand(1, 1, 20, 20)
    torch.testing.assert_close(model(gray), model(gray.expand(1, 3, 20, 20)))
    with pytest.raises(ValueError, match="not of 4"):
        model(torch.rand(1, 4, 20, 20))


# Weights from a file

SAVERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    ".safetensors": save_file,
    ".pth": torch.save,
}


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("counters", [True, False])
@torch.no_grad()
def test_weights_come_from_a_file(model: Inception, tmp_path: Path, suffix: str, counters: bool):
    """With the counters of batch norm, which old files lack, and without."""
    file = tmp_path / f"weights{suffix}"
    weights = dict(model.state_dict())
    if not counters:
        weights = {name: t for name, t in weights.items() if "num_batches" not in name}
    SAVERS[suffix](weights, file)
    loaded = load_inception(file)
    assert not loaded.training
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded(x), model(x))


def without_a_layer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in weights.items() if not name.startswith("Mixed_7c")}


def of_a_thousand_classes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("change", [without_a_layer, of_a_thousand_classes])
def test_other_weights_are_refused(
    model: Inception,
    tmp_path: Path,
    suffix: str,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
):
    file = tmp_path / f"other{suffix}"
    SAVERS[suffix](change(dict(model.state_dict())), file)
    with pytest.raises(ValueError, match=f"other{suffix} does not hold the weights of the FID's"):
        load_inception(file)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_text("no weights")
    with pytest.raises(ValueError, match=f"{name} does not hold the weights"):
        load_inception(tmp_path / name)
