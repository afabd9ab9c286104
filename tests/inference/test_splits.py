"""Which samples a finished model is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import Data, Split
from visarch.inference.splits import every_sample, held_out, representatives, spread


def make_split(name: str, values: list[int], *, labelled: bool = True) -> Split:
    """Samples that hold their own number, are named after it, and are labelled by its parity."""
    images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1)
    labels = torch.tensor(values) % 2 if labelled else None
    return Split(name, images, labels, [f"sample {value}" for value in values])


def make_data(*splits: Split) -> Data:
    return Data("x", "array", (1, 1), 256, {split.name: split for split in splits}, ("a", "b"))


TRAIN, VALIDATION = make_split("train", [3, 4, 5]), make_split("validation", [9])
TEST = make_split("test", [7, 8])


def test_test_is_held_out_before_validation():
    assert held_out(make_data(TRAIN, VALIDATION, TEST)) is TEST
    assert held_out(make_data(TRAIN, VALIDATION)) is VALIDATION


def test_every_sample_keeps_name_label_and_origin():
    split, origins = every_sample(make_data(TRAIN, VALIDATION, TEST))
    assert split.images.flatten().tolist() == [3, 4, 5, 9, 7, 8]
    assert split.names == [f"sample {value}" for value in (3, 4, 5, 9, 7, 8)]
    assert split.labels is not None
    assert split.labels.tolist() == [1, 0, 1, 1, 1, 0]
    assert origins == ["train"] * 3 + ["validation"] + ["test"] * 2


def test_labels_that_are_not_known():
    none = (make_split(name, [1], labelled=False) for name in ("train", "validation"))
    assert every_sample(make_data(*none))[0].labels is None
    some, _ = every_sample(make_data(TRAIN, make_split("validation", [9], labelled=False)))
    assert some.labels is not None
    assert some.labels.tolist() == [1, 0, 1, -1]


def test_the_only_sample_is_taken_once():
    split, origins = every_sample(
        make_data(make_split("train", [3]), make_split("validation", [3]))
    )
    assert (split.names, origins, len(split.images)) == (["sample 3"], ["train"], 1)
    assert split.labels is not None
    assert split.labels.tolist() == [1]


@given(count=st.integers(1, 200), most=st.integers(1, 200))
def test_spread(count: int, most: int):
    """As many as may be, each once, in order, from the first on, at nearly equal distances."""
    positions = spread(count, most)
    assert len(positions) == min(count, most)
    assert positions[0] == 0
    steps = np.diff([*positions, count])
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("count", "most"), [(1, 1), (7, 3), (500, 200), (4000, 2000), (5, 9)])
def test_representatives_are_one_of_each_piece(count: int, most: int):
    positions = representatives(count, most)
    edges = [*spread(count, most), count]
    assert len(positions) == min(count, most)
    for position, start, end in zip(positions, edges, edges[1:], strict=False):
        assert start <= position < end


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
@pytest.mark.parametrize("step", [2, 2.5, 5, 10])
def test_classes_that_take_turns_are_all_represented(classes: int, step: float):
    """By their share, as far as chance allows; even steps leave some out."""
    most = 400
    labels = np.array(representatives(int(step * most), most)) % classes
    shares = np.bincount(labels, minlength=classes) * classes / most
    assert shares.min() > 0.4
    assert shares.max() < 1.6
