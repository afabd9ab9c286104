"""Augmentations against slices, NumPy's padding, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from visarch.data.augmentation import (
    Padding,
    affine,
    cutout,
    flip,
    mixing_weights,
    mixup,
    reduced,
    shift,
    turn_and_zoom,
)
from visarch.training.randomness import StepNoise

PADDINGS: dict[Padding, str] = {"edge": "edge", "mirror": "symmetric", "zero": "constant"}
"""What NumPy calls them."""
paddings = st.sampled_from(list(PADDINGS))


@st.composite
def images_and_offsets(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Up to three samples in one to three dimensions, and how far to move each along each axis."""
    spatial = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    images = 1 + torch.arange(batch * channels * math.prod(spatial)).view(batch, channels, *spatial)
    rows = [[draw(st.integers(-9, 9)) for _ in spatial] for _ in range(batch)]
    dtype = draw(st.sampled_from([torch.uint8, torch.int32, torch.float32]))
    return images.to(dtype), torch.tensor(rows)


def shifted_by_hand(image: np.ndarray, offsets: list[int], padding: Padding) -> np.ndarray:
    """One sample (C, *spatial): padded on all sides, and another window cut out."""
    reach = max(map(abs, offsets))
    widths = [(0, 0)] + [(reach, reach)] * len(offsets)
    padded = np.pad(image, widths, mode=PADDINGS[padding])  # type: ignore[call-overload]
    window = [
        slice(reach - offset, reach - offset + size)
        for offset, size in zip(offsets, image.shape[1:], strict=True)
    ]
    return padded[:, *window]


# Shifts.


@given(images_and_offsets(), paddings)
def test_each_sample_moves_by_its_own_offsets_and_is_padded(case, padding: Padding):
    images, offsets = case
    expected = [
        shifted_by_hand(image.numpy(), offset, padding)
        for image, offset in zip(images, offsets.tolist(), strict=True)
    ]
    moved = shift(images, offsets, padding)
    assert moved.dtype == images.dtype
    assert np.array_equal(moved.numpy(), np.stack(expected))


@given(images_and_offsets(), paddings)
def test_no_offset_changes_nothing(case, padding: Padding):
    images, offsets = case
    assert torch.equal(shift(images, torch.zeros_like(offsets), padding), images)


def test_a_positive_offset_moves_down_and_to_the_right():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    image[0, 0, 1, 1] = 255
    moved = shift(image, torch.tensor([[2, 1]]))
    assert moved.dtype == torch.uint8
    assert moved[0, 0].nonzero().tolist() == [[3, 2]]


# Flips.


@given(images_and_offsets())
def test_those_chosen_are_mirrored_from_left_to_right(case):
    images, offsets = case
    chosen = offsets[:, 0] > 0
    flipped = flip(images, chosen)
    assert flipped.dtype == images.dtype
    for image, before, mirrored in zip(flipped, images, chosen, strict=True):
        assert np.array_equal(image, np.flip(before.numpy(), -1) if mirrored else before)
    assert torch.equal(flip(flipped, chosen), images)


# Cutout.


@given(images_and_offsets(), st.integers(1, 6), st.data())
def test_a_square_is_cut_out_around_its_center(case, side: int, data: st.DataObject):
    images, offsets = case
    uniform = st.floats(0, 1, exclude_max=True, width=32)
    centers = [[data.draw(uniform) for _ in offset] for offset in offsets]
    cut = cutout(images, torch.tensor(centers), side, 0)
    assert cut.dtype == images.dtype
    for image, before, center in zip(cut, images.numpy().copy(), centers, strict=True):
        window = []
        for share, size in zip(center, before.shape[1:], strict=True):
            first = min(int(np.float32(share) * np.float32(size)), size - 1) - side // 2
            window.append(slice(max(0, first), max(0, first + side)))
        before[:, *window] = 0
        assert np.array_equal(image, before)


def test_every_pixel_is_as_likely_to_be_the_center():
    centers = (torch.arange(100).unsqueeze(1) + 0.5) / 100
    cut = cutout(torch.ones(100, 1, 10), centers, 1, 0.5)
    assert torch.equal((cut[:, 0] == 0.5).sum(0), torch.full((10,), 10))


# Affine maps.


def random_generators(batch: int, ndim: int) -> Tensor:
    return 0.3 * torch.randn(batch, ndim, ndim)


def moved_by_hand(image: np.ndarray, generator: Tensor, offset: Tensor, mode: str) -> np.ndarray:
    """One sample (C, *spatial) by SciPy, which asks where each pixel comes from."""
    matrix = torch.linalg.inv(torch.matrix_exp(generator.double())).numpy()
    middle = (np.array(image.shape[1:]) - 1) / 2
    origin = middle - matrix @ (middle + offset.double().numpy())
    return np.stack(
        [
            ndimage.affine_transform(channel.astype(float), matrix, origin, order=1, mode=mode)
            for channel in image
        ]
    )


@pytest.mark.parametrize("shape", [(2, 11), (3, 9, 6), (1, 6, 5, 4)])
@pytest.mark.parametrize(
    ("padding", "mode"), [("edge", "nearest"), ("mirror", "reflect"), ("zero", "grid-constant")]
)
def test_an_affine_map_is_scipys(shape: tuple[int, ...], padding: Padding, mode: str):
    ndim = len(shape) - 1
    images = torch.rand(4, *shape)
    generators, offsets = random_generators(4, ndim), 2 * torch.randn(4, ndim)
    moved = affine(images, generators, offsets, padding)
    expected = [
        moved_by_hand(image.numpy(), generator, offset, mode)
        for image, generator, offset in zip(images, generators, offsets, strict=True)
    ]
    np.testing.assert_allclose(moved, np.stack(expected), atol=2e-5)


@given(images_and_offsets(), paddings)
def test_an_affine_map_by_whole_pixels_is_a_shift(case, padding: Padding):
    images, offsets = case
    still = torch.zeros(len(images), offsets.shape[1], offsets.shape[1])
    moved = affine(images, still, offsets, padding)
    assert moved.dtype == images.dtype
    torch.testing.assert_close(moved, shift(images, offsets, padding), rtol=0, atol=1e-3)


def turned(count: float, side: int = 7) -> tuple[Tensor, Tensor]:
    """An image, and the image turned by so many quarters."""
    image = torch.rand(1, 2, side, side)
    generators = turn_and_zoom(torch.tensor([[count * math.pi / 2]]), torch.zeros(1), 2)
    return image, affine(image, generators, torch.zeros(1, 2))


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("quarters", [-1, 1, 2, 4])
def test_a_positive_angle_turns_counterclockwise(quarters: int, side: int):
    image, after = turned(quarters, side)
    torch.testing.assert_close(after, image.rot90(quarters, (2, 3)), rtol=0, atol=1e-5)


def test_a_volume_turns_in_three_planes():
    volume = torch.rand(3, 1, 5, 5, 5)
    generators = turn_and_zoom(torch.eye(3) * math.pi / 2, torch.zeros(3), 3)
    after = affine(volume, generators, torch.zeros(3, 3))
    for number, plane in enumerate([(1, 2), (1, 3), (2, 3)]):
        expected = volume[number].rot90(1, plane)
        torch.testing.assert_close(after[number], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_zooming_by_two_shows_the_middle_half(ndim: int):
    positions = torch.meshgrid(*[torch.arange(8.0) - 3.5] * ndim, indexing="ij")
    image = torch.stack(positions).unsqueeze(0)  # each channel holds one coordinate
    generators = turn_and_zoom(
        torch.zeros(1, ndim * (ndim - 1) // 2), torch.tensor([math.log(2)]), ndim
    )
    torch.testing.assert_close(affine(image, generators, torch.zeros(1, ndim)), image / 2)


def test_whole_numbers_are_rounded():
    image = torch.tensor([[[0, 10, 20]]], dtype=torch.uint8)
    moved = affine(image, torch.zeros(1, 1, 1), torch.tensor([[0.26]]))
    assert moved.tolist() == [[[0, 7, 17]]]


# Mixing.


def test_neighbors_are_mixed_with_their_targets():
    images, targets = torch.rand(6, 2, 3), torch.eye(6)
    weights = torch.tensor([1.0, 0.75, 0.0, 0.5, 0.1, 0.9])
    mixed, shares = mixup(images, targets, weights)
    for i, j in enumerate([1, 0, 3, 2, 5, 4]):
        share = weights[i]
        torch.testing.assert_close(mixed[i], share * images[i] + (1 - share) * images[j])
        torch.testing.assert_close(shares[i], share * targets[i] + (1 - share) * targets[j])


def test_an_odd_batch_cannot_be_paired():
    with pytest.raises(ValueError, match=r"3 samples .* even number"):
        mixup(torch.rand(3, 1, 4), torch.rand(3, 2), torch.rand(3))


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0, 4.0])
def test_the_weights_have_a_beta_distribution(alpha: float):
    weights = mixing_weights(alpha, torch.rand(20_000, 2)).double().numpy()
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 1e3])
def test_the_weights_are_finite_wherever_the_uniform_numbers_lie(alpha: float):
    ends = torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2**-24])
    weights = mixing_weights(alpha, torch.cartesian_prod(ends, ends))
    assert weights.min() >= 0
    assert weights.max() <= 1


# Several processes.


def augmented(images: Tensor, targets: Tensor, noise: StepNoise) -> tuple[Tensor, Tensor]:
    images = shift(images, noise.integers(5, 2) - 2, "mirror")
    images = flip(images, noise.integers(2).bool())
    angles, zooms = noise.normal(1), noise.normal()
    images = affine(images, turn_and_zoom(angles, 0.1 * zooms, 2), noise.uniform(2))
    images = cutout(images, noise.uniform(2), 3, 0.5)
    return mixup(images, targets, mixing_weights(0.4, noise.uniform(2)))


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_several_processes_see_what_one_does(processes: int):
    images, targets = torch.rand(12, 3, 8, 6), torch.eye(12)
    whole = augmented(images, targets, StepNoise(1, 2, 12))
    parts = [
        augmented(part, target, StepNoise(1, 2, 12, rank, processes))
        for rank, (part, target) in enumerate(
            zip(images.chunk(processes), targets.chunk(processes), strict=True)
        )
    ]
    for together, piecewise in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(piecewise), together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("last", [False, True])
def test_reduced_images_are_pillows(last: bool):
    levels = torch.randint(256, (2, 3, 12, 9), dtype=torch.uint8)
    images = levels.float()
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    small = reduced(images, 0.75)
    assert small.shape == (2, 3, 9, 7)
    assert small.is_contiguous(memory_format=torch.channels_last) == last
    for image, actual in zip(levels, small, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(picture.resize((7, 9), Image.Resampling.BILINEAR))
        difference = actual.permute(1, 2, 0).numpy() - expected.astype(float)
        assert abs(difference).max() <= 1  # Pillow rounds twice
