"""Shifts by whole pixels, against slices."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.augmentation import shift


@st.composite
def images_and_offsets(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to three samples in one to three dimensions, and how far to move each along each axis."""
    spatial = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    images = torch.arange(batch * channels * np.prod(spatial)).view(batch, channels, *spatial)
    rows = [[draw(st.integers(-4, 4)) for _ in spatial] for _ in range(batch)]
    return images, torch.tensor(rows)


def shifted_by_hand(image: np.ndarray, offsets: list[int]) -> np.ndarray:
    """One sample (C, *spatial): edges repeated without end, and another window cut out."""
    reach = max(map(abs, offsets))
    padded = np.pad(image, [(0, 0)] + [(reach, reach)] * len(offsets), mode="edge")
    window = [
        slice(reach - offset, reach - offset + size)
        for offset, size in zip(offsets, image.shape[1:], strict=True)
    ]
    return padded[:, *window]


@given(images_and_offsets())
def test_each_sample_moves_by_its_own_offsets_and_edges_repeat(case):
    images, offsets = case
    expected = [
        shifted_by_hand(image.numpy(), offset)
        for image, offset in zip(images, offsets.tolist(), strict=True)
    ]
    assert np.array_equal(shift(images, offsets).numpy(), np.stack(expected))


@given(images_and_offsets())
def test_no_offset_changes_nothing(case):
    images, offsets = case
    assert torch.equal(shift(images, torch.zeros_like(offsets)), images)


def test_a_positive_offset_moves_down_and_to_the_right():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    image[0, 0, 1, 1] = 255
    moved = shift(image, torch.tensor([[2, 1]]))
    assert moved.dtype == torch.uint8
    assert moved[0, 0].nonzero().tolist() == [[3, 2]]
