"""Samples as pictures: where each tile lies, and what it shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from visarch.pictures import beside, grid, strip, tile, to_picture

WHITE = (255, 255, 255)


def flat(*values: float, side: int = 60) -> Tensor:
    """Gray images, each of one value throughout."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, side, side)


def color_at(picture: Image.Image, column: int, row: int) -> object:
    """The color in the middle of a tile of 60 pixels, where gaps are 2 pixels wide."""
    return picture.getpixel((2 + 62 * column + 30, 2 + 62 * row + 30))


@given(st.integers(0, 255))
def test_every_level_is_shown_as_itself(level: int):
    image = flat((level + 0.5) / 256)[0]
    assert np.asarray(tile(image)).min() == np.asarray(tile(image)).max() == level


def test_what_lies_outside_is_cut_off():
    pixels = torch.tensor([[-3.0, 0.0, 1.0, 7.0]]).view(1, 2, 2)
    assert np.asarray(to_picture(pixels)).tolist() == [[0, 0], [255, 255]]


def test_an_image_keeps_its_colors_and_orientation():
    image = torch.zeros(3, 2, 3)
    image[0, 0, 2] = 1  # red in the upper right corner
    image[1, 1, 0] = 1  # green in the lower left one
    picture = to_picture(image)
    assert picture.size == (3, 2)
    assert picture.getpixel((2, 0)) == (255, 0, 0)
    assert picture.getpixel((0, 1)) == (0, 255, 0)


def test_of_other_numbers_of_channels_the_first_is_shown():
    image = torch.stack([torch.full((4, 4), value) for value in (0.5, 0.0)])
    assert np.asarray(to_picture(image)).tolist() == [[128] * 4] * 4


def test_a_volume_is_shown_by_its_middle_slice():
    volume = torch.arange(5).view(1, 5, 1, 1).expand(1, 5, 60, 60) / 256
    assert tile(volume).getpixel((0, 0)) == (2, 2, 2)
    assert to_picture(volume).size == (60, 60)


@pytest.mark.parametrize(
    ("size", "shown"), [((1, 1), (56, 56)), ((28, 28), (56, 56)), ((20, 30), (60, 90))]
)
def test_small_images_are_enlarged_in_whole_multiples(size, shown):
    image = torch.rand(1, *size)
    picture = np.asarray(tile(image))[..., 0]
    assert picture.shape == shown
    factor = shown[0] // size[0]
    assert np.array_equal(picture[::factor, ::factor], np.asarray(to_picture(image)))


def test_large_images_are_not():
    assert tile(torch.rand(3, 57, 80)).size == (80, 57)


# Signals.


def is_drawn(picture: Image.Image) -> np.ndarray:
    """Where something is drawn on the paper of a signal, (height, width)."""
    return (np.asarray(picture) != 245).any(axis=2)


def test_a_signal_is_a_curve_from_side_to_side():
    rising = tile(torch.linspace(0, 1, 20).unsqueeze(0))
    rows = [np.flatnonzero(column).mean() for column in is_drawn(rising).T if column.any()]
    assert len(rows) >= 120
    assert rows[0] > 55  # it begins at the bottom
    assert rows[-1] < 8  # and ends at the top
    assert (np.diff(rows) <= 0.01).all()


def test_the_extremes_of_a_signal_are_within_the_picture():
    for value in (0.0, 1.0, -5.0, 5.0):
        drawn = is_drawn(tile(torch.full((1, 9), value)))
        assert drawn.any(axis=0).sum() >= 120
        assert not drawn[[0, -1]].any()


def test_each_channel_has_a_color():
    first, second = (is_drawn(tile(torch.full((1, 9), value))) for value in (0.2, 0.8))
    both = np.asarray(tile(torch.tensor([[0.2] * 9, [0.8] * 9])))
    assert len(np.unique(both[first], axis=0)) > 0
    assert (both[first].mean(0) != both[second].mean(0)).all()


def test_a_signal_of_one_value_is_a_line():
    assert is_drawn(tile(torch.tensor([[0.5]]))).any(axis=0).sum() >= 120


# Sheets.


def test_a_grid_fills_row_by_row():
    picture = grid(flat(0.1, 0.2, 0.3, 0.4, 0.5), 3)
    assert picture.size == (2 + 3 * 62, 2 + 2 * 62)
    shown = [[color_at(picture, column, row) for column in range(3)] for row in range(2)]
    levels = [int(256 * value) for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    colors = [(level,) * 3 for level in levels]
    assert shown == [colors[:3], [*colors[3:], WHITE]]


def test_a_grid_is_no_wider_than_its_images():
    assert grid(flat(0.1, 0.2), 8).size == (2 + 2 * 62, 2 + 62)


def test_a_grid_of_nothing():
    with pytest.raises(ValueError, match="no sample"):
        grid(torch.empty(0, 1, 4, 4), 3)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_original_stands_above_its_other(count: int):
    values = torch.arange(count) / 16
    picture = np.asarray(beside(flat(*values), flat(*values + 0.5), columns=2))[..., 0]
    assert picture.shape[0] == 2 + (-(-count // 2)) * 124 + (-(-count // 2) - 1) * 6
    for number in range(count):
        row, column = divmod(number, 2)
        left, top = 2 + 62 * column + 30, 2 + row * (124 + 6) + 30
        assert picture[top, left] == 16 * number
        assert picture[top + 62, left] == 16 * number + 128
    if count % 2 and count > 1:  # what is left of the last rows is blank
        assert (picture[-124:, 70:] == 255).all()


@pytest.mark.parametrize("shape", [(1, 9), (1, 20, 20), (1, 4, 6, 6)])
def test_a_place_without_a_sample_is_blank(shape: tuple[int, ...]):
    picture = beside(torch.rand(3, *shape), torch.rand(3, *shape), columns=2)
    assert (np.asarray(picture)[-40:, -50:] == 255).all()


def test_a_strip_sets_its_ends_apart():
    picture = np.asarray(strip(flat(0.1)[0], flat(0.2, 0.3, 0.4), flat(0.5)[0]))[..., 0]
    assert picture.shape == (64, 2 + 5 * 62 + 2 * 6)
    blank = (picture == 255).all(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blank.astype(int), [0]])))
    assert (edges[1::2] - edges[::2]).tolist() == [2, 8, 2, 2, 8, 2]
    middles = picture[32, ~blank][30::60]
    assert middles.tolist() == [int(256 * value) for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
