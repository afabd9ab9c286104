import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import Split
from visarch.data.ondemand import Joined, join, read, take

WHOLE = torch.arange(20).view(20, 1, 1)


class Kept:
    """Images on demand that are not, in fact."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[indices]


@given(st.lists(st.integers(0, 11)), st.lists(st.integers(0, 19), min_size=12, max_size=12))
def test_some_of_some_are_those(indices, positions):
    indices, positions = torch.tensor(indices, dtype=torch.int64), torch.tensor(positions)
    once = take(Kept(WHOLE), positions)
    assert len(once) == 12
    assert torch.equal(read(once, indices), WHOLE[positions][indices])
    reverse = torch.arange(11, -1, -1)
    twice = take(once, reverse)
    assert torch.equal(read(twice, indices), WHOLE[positions][reverse][indices])
    assert torch.equal(take(WHOLE, positions), WHOLE[positions])


@given(st.lists(st.integers(0, 19)), st.integers(1, 18), st.booleans())
def test_joined_they_are_the_whole(indices, cut, first_in_memory):
    parts = [WHOLE[:cut], Kept(WHOLE[cut:])]
    if not first_in_memory:
        parts = [Kept(WHOLE[:cut]), WHOLE[cut:]]
    joined = join(parts)
    assert isinstance(joined, Joined)
    assert len(joined) == 20
    indices = torch.tensor(indices, dtype=torch.int64)
    assert torch.equal(read(joined, indices), WHOLE[indices])


def test_tensors_are_joined_as_tensors():
    assert torch.equal(join([WHOLE[:3], WHOLE[3:]]), WHOLE)


@pytest.mark.parametrize("index", [20, -1])
def test_an_index_that_is_not_there(index):
    with pytest.raises(IndexError, match="not all among 20 images"):
        join([Kept(WHOLE[:3]), WHOLE[3:]]).read(torch.tensor([0, index]))


def test_a_split_on_demand_reads_and_takes_as_one_in_memory():
    labels, vectors = torch.arange(20) % 3, torch.rand(20, 2)
    names = [f"{number}.png" for number in range(20)]
    held = Split("train", WHOLE, labels, names, vectors, labels + 100)
    lazy = Split("train", Kept(WHOLE), labels, names, vectors, labels + 100)
    assert held.in_memory
    assert not lazy.in_memory
    assert not held.sequential
    assert not lazy.sequential
    assert lazy.seeded(3) is lazy
    order = torch.randperm(20)
    for split in (held, lazy, held.take("x", order.tolist()), lazy.take("x", order.tolist())):
        batch = split.read(order)
        assert torch.equal(batch.labels, batch.images.flatten() % 3)
        assert torch.equal(batch.vectors, vectors[batch.images.flatten()])
        assert [split.names[i] for i in order] == [f"{n}.png" for n in batch.images.flatten()]
        assert torch.equal(split.sizes[order] - 100, batch.labels)


def test_a_split_moves_to_a_device_as_a_whole():
    split = Split("train", WHOLE, torch.arange(20), list("abcdefghijklmnopqrst"), torch.rand(20, 2))
    moved = split.to("meta")
    assert {moved.images.device, moved.labels.device, moved.vectors.device} == {
        torch.device("meta")
    }
    assert moved.names == split.names
    with pytest.raises(ValueError, match="the train images are decoded on demand"):
        Split("train", Kept(WHOLE), None, split.names).to("meta")
