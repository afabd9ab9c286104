"""What counts as agreement, and what is shown to a graph."""

from __future__ import annotations

import math

import pytest
import torch

from visarch.data import Preparation, Split
from visarch.export.checking import Agreement, shown


@pytest.mark.parametrize(
    ("difference", "top1", "holds"),
    [
        (1e-5, None, True),
        (1e-5, 20, True),
        (1e-4, 20, True),
        (1.1e-4, 20, False),
        (1e-5, 19, False),
        (math.nan, 20, False),
        (math.inf, None, False),
    ],
)
def test_agreement(difference, top1, holds):
    assert Agreement("graph", "probabilities", 20, difference, 1e-4, top1).holds is holds


@pytest.mark.parametrize("levels", [256, 1024, None])
def test_what_is_shown_are_the_images_raw_and_as_the_model_meets_them(levels):
    preparation = Preparation((1, 6, 4), levels, (-0.5, 1023.5), (-2.0, 3.0))
    images = torch.rand(40, 1, 6, 4) if levels is None else torch.randint(levels, (40, 1, 6, 4))
    images = images.to(preparation.empty(0).dtype)
    sizes = []
    split = Split("test", images, None, [""] * 40)
    for size, raw, own in shown(split, preparation):
        for place in range(len(raw)):
            expected = preparation.apply(raw[place].numpy())
            torch.testing.assert_close(own.images[place], expected)
        sizes.append((size, tuple(raw.shape)))
    assert sizes[0] == ("in the model's size", (40, 1, 6, 4))
    assert sizes[1:] == [("of 13×7", (32, 1, 13, 7)), ("of 4×4", (32, 1, 4, 4))]


def test_signals_are_shown_in_their_own_size_alone():
    split = Split("test", torch.rand(9, 2, 8), None, [""] * 9)
    assert len(list(shown(split, Preparation((2, 8), None)))) == 1
