"""RandAugment's operations against Pillow's, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from visarch.data import to_uint8, to_unit
from visarch.data.augmentation import flip
from visarch.data.randaugment import MOST, OPERATIONS, rand_augment

NAMES = list(OPERATIONS)
GEOMETRIC = ["rotate", "slant across", "slant down", "move across", "move down"]
STRETCHING = ["autocontrast", "equalize"]
ONE_SIDED = ["identity", "solarize", "posterize", *STRETCHING]


def photograph(channels: int = 3, size: tuple[int, int] = (150, 170)) -> Tensor:
    """Smooth, of uneven and limited contrast, as uint8 (1, C, H, W)."""
    coarse = torch.randn(1, channels, 6, 6)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    return to_uint8((0.45 + 0.12 * smooth + 0.02 * torch.randn(1, channels, *size)).clamp(0.1, 0.9))


def with_pillow(change: Callable[[Image.Image], Image.Image], image: Tensor) -> Tensor:
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(change(picture))).permute(2, 0, 1).unsqueeze(0)


def with_ours(name: str, image: Tensor, strength: float) -> Tensor:
    return to_uint8(OPERATIONS[name](to_unit(image, 256), torch.full((1, 1, 1, 1), strength)))


def largest_difference(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("color", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows(name: str, enhance: Callable, strength: float):
    image = photograph()
    expected = with_pillow(lambda p: enhance(p).enhance(1 + 0.9 * strength), image)
    assert largest_difference(with_ours(name, image, strength), expected) <= 2  # Pillow rounds


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_posterizing_is_pillows_in_the_middle_of_a_cell(bits: int):
    image = photograph()
    expected = with_pillow(lambda p: ImageOps.posterize(p, bits), image) + 2 ** (8 - bits) // 2
    assert torch.equal(with_ours("posterize", image, (8 - bits) / 4), expected)


@pytest.mark.parametrize("strength", [0.0, 0.5, -1.0])
def test_solarizing_is_pillows(strength: float):
    image = photograph()
    threshold = round(256 * (1 - abs(strength)))
    expected = with_pillow(lambda p: ImageOps.solarize(p, threshold), image)
    assert torch.equal(with_ours("solarize", image, strength), expected)


@pytest.mark.parametrize(
    ("name", "change"), [("autocontrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize)]
)
def test_stretching_is_pillows(name: str, change: Callable):
    image = photograph()
    expected = with_pillow(change, image)
    assert largest_difference(with_ours(name, image, 1.0), image) > 30
    assert largest_difference(with_ours(name, image, 1.0), expected) <= 3


@pytest.mark.parametrize("strength", [-1.0, 0.4])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operations_are_pillows(name: str, strength: float):
    """Within the image; Pillow asks where a pixel (x, y) comes from, counted from its corner."""
    image = photograph()
    height, width = image.shape[2:]
    if name == "rotate":

        def change(picture: Image.Image) -> Image.Image:
            return picture.rotate(30 * strength, Image.Resampling.BILINEAR)
    else:
        factor = 0.3 * strength
        across, down = {
            "slant across": ((1, -factor, factor * height / 2), (0, 1, 0)),
            "slant down": ((1, 0, 0), (-factor, 1, factor * width / 2)),
            "move across": ((1, 0, -factor * width), (0, 1, 0)),
            "move down": ((1, 0, 0), (0, 1, -factor * height)),
        }[name]

        def change(picture: Image.Image) -> Image.Image:
            return picture.transform(
                picture.size,
                Image.Transform.AFFINE,
                (*across, *down),
                resample=Image.Resampling.BILINEAR,
            )

    ours, expected = with_ours(name, image, strength), with_pillow(change, image)
    shown = expected.amin((0, 1)) > 20  # elsewhere it is black beyond the edge, or mixed with it
    assert shown.float().mean() > 0.5
    difference = (ours.int() - expected.int()).abs()[..., shown]
    assert (difference <= 2).float().mean() > 0.98
    assert largest_difference(ours, image) > 20


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STRETCHING])
def test_no_strength_changes_nothing(name: str):
    image = photograph()
    assert torch.equal(with_ours(name, image, 0.0), image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (3, 1, 2, 5), (2, 4, 9, 1), (1, 3, 8, 8)])
def test_any_image_stays_an_image(name: str, shape: tuple[int, ...]):
    for x in (torch.rand(shape), torch.zeros(shape), torch.ones(shape)):
        changed = OPERATIONS[name](x, torch.ones(shape[0], 1, 1, 1))
        assert changed.shape == x.shape
        assert changed.min() >= 0
        assert changed.max() <= 1


@pytest.mark.parametrize("name", STRETCHING)
def test_a_channel_of_one_value_stays_as_it_is(name: str):
    x = torch.full((2, 3, 4, 4), 0.3)
    assert torch.equal(OPERATIONS[name](x, torch.ones(2, 1, 1, 1)), x)


@pytest.mark.parametrize("name", NAMES)
def test_a_sign_turns_around_what_has_two_ways(name: str):
    image = photograph()
    there, back = (with_ours(name, image, strength) for strength in (0.6, -0.6))
    assert torch.equal(there, back) == (name in ONE_SIDED)
    if name == "rotate":
        mirrored = flip(image, torch.tensor([True]))
        again = flip(with_ours(name, mirrored, -0.6), torch.tensor([True]))
        assert largest_difference(again, there) <= 1


# The choice.


def test_each_image_gets_its_own_operations_in_order():
    x = torch.rand(28, 3, 9, 8)
    choices = torch.randint(len(NAMES), (28, 3))
    signs = torch.randint(2, (28, 3)) * 2 - 1
    changed = rand_augment(x, choices, signs, 7)
    for image, before, chosen, sign in zip(changed, x, choices, signs, strict=True):
        alone = before.unsqueeze(0)
        for number, side in zip(chosen.tolist(), sign.tolist(), strict=True):
            strength = torch.full((1, 1, 1, 1), 0.7 * side)
            alone = OPERATIONS[NAMES[number]](alone, strength)
        torch.testing.assert_close(image, alone[0], rtol=0, atol=1e-5)


def test_no_operation_at_all():
    x, none = torch.rand(3, 3, 4, 4), torch.zeros(3, 0, dtype=torch.int64)
    assert torch.equal(rand_augment(x, none, none, 5), x)


@pytest.mark.parametrize("shape", [(2, 1, 9), (2, 1, 4, 4, 4)])
def test_signals_and_volumes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=f"have {len(shape) - 2} spatial"):
        rand_augment(torch.rand(shape), torch.zeros(2, 1).long(), torch.ones(2, 1), 5)


@pytest.mark.parametrize("magnitude", [-1, MOST + 0.1, float("nan")])
def test_magnitudes_that_there_are_not(magnitude: float):
    with pytest.raises(ValueError, match="magnitude"):
        rand_augment(torch.rand(2, 1, 4, 4), torch.zeros(2, 1).long(), torch.ones(2, 1), magnitude)
