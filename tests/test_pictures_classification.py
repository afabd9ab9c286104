"""Charts and pictures of a classifier: what is where in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.evaluation.classification import Reliability
from visarch.pictures import tile
from visarch.pictures_classification import (
    confusion_chart,
    mistakes_picture,
    reliability_chart,
)

EMPTY = (217, 221, 227)


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def darkness(picture: Image.Image) -> np.ndarray:
    return 255 - np.asarray(picture.convert("L")).astype(int)


def share_of(picture: Image.Image, color: tuple[int, int, int]) -> float:
    return float((np.asarray(picture) == color).all(2).mean())


# Confusion.


@pytest.mark.parametrize("num_classes", [1, 2, 10, 30, 150])
def test_a_confusion_matrix_of_any_size(num_classes: int):
    picture = confusion_chart(torch.eye(num_classes).long() * 1234, names(num_classes))
    assert max(picture.size) < 1800
    assert share_of(picture, EMPTY) < 0.01


def test_rows_are_classes_and_columns_what_they_are_read_as():
    """All of class 0 is read as 2: the one dark cell besides the diagonal is in the upper right."""
    counts = torch.eye(3).long() * 50
    right = darkness(confusion_chart(counts, names(3)))
    counts[0] = torch.tensor([0, 0, 50])
    moved = darkness(confusion_chart(counts, names(3)))
    assert right.shape == moved.shape
    rows, columns = np.nonzero(moved - right > 100)
    lost_rows, lost_columns = np.nonzero(right - moved > 100)
    assert abs(np.median(rows) - np.median(lost_rows)) < 5
    assert np.median(columns) - np.median(lost_columns) > 150


def test_a_class_without_images_is_gray():
    counts = torch.eye(4).long()
    counts[1] = 0
    assert 0.05 < share_of(confusion_chart(counts, names(4)), EMPTY) < 0.2


# Reliability.


@pytest.mark.parametrize("num_bins", [1, 15])
def test_reliability_of_any_number_of_bins(num_bins: int):
    confidence = torch.linspace(0.3, 1, num_bins)
    bins = Reliability(torch.full((num_bins,), 20), confidence, confidence, 0 * confidence)
    on, off = (reliability_chart(bins._replace(accuracy=a)) for a in (confidence, 0 * confidence))
    assert on.size[0] < 700
    assert not np.array_equal(on, off)


# Mistakes.


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (2, 50), (1, 8, 9, 10), (3, 150, 90)])
def test_each_mistake_is_shown_above_its_caption(shape: tuple[int, ...]):
    images = torch.rand(5, *shape)
    labels = torch.tensor([0, 1, 2, 1, 0])
    picture = mistakes_picture(images, labels, (labels + 1) % 3, torch.rand(5), names(3), 3)
    first = tile(images[0], 96)
    width, height = max(first.width, 116), first.height + 54
    assert picture.size == (2 + 3 * (width + 2), 2 + 2 * (height + 2))
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        top, left = 2 + row * (height + 2), 2 + column * (width + 2)
        shown = tile(image, 96)
        start = left + (width - shown.width) // 2
        cell = np.asarray(picture)[top : top + height, start : start + shown.width]
        assert np.array_equal(cell[: shown.height], np.asarray(shown))
        assert darkness(Image.fromarray(cell[shown.height :])).max() > 150


def test_names_that_are_too_long_are_cut_off():
    long = ["a name of a class that goes on and on and on", "b"]
    images, zeros = torch.ones(2, 1, 30, 30), torch.zeros(2, dtype=torch.int64)
    picture = mistakes_picture(images, zeros, 1 - zeros, torch.ones(2), long)
    gap = np.asarray(picture)[:, 2 + 120 : 2 + 122]  # between the two, each 120 pixels wide
    assert (gap == 255).all()


def test_no_mistake_is_no_picture():
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no sample"):
        mistakes_picture(torch.zeros(0, 1, 4, 4), none, none, torch.zeros(0), names(2))
