import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.training.randomness import StepNoise, batch_indices, derive_seed, seed_step

SIZES = st.integers(1, 40)


@given(st.integers(0, 100), SIZES, SIZES, st.integers(1, 6))
def test_batches_are_the_epochs_cut_into_pieces(seed, num_samples, batch_size, epochs):
    num_batches = epochs * num_samples  # so that whole epochs fill whole batches
    steps = [batch_indices(seed, step, num_samples, batch_size) for step in range(num_batches)]
    assert all(step.shape == (batch_size,) for step in steps)
    visited = torch.cat(steps).reshape(-1, num_samples)
    assert torch.equal(visited.sort(1).values[0], torch.arange(num_samples))
    assert (visited.sort(1).values == torch.arange(num_samples)).all()


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = (batch_indices(0, step, 1000, 1000) for step in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, batch_indices(1, 0, 1000, 1000))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples is 0"):
        batch_indices(0, 0, 0, 4)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_the_noise_of_one(world_size):
    def draw(rank, size):
        noise = StepNoise(3, 5, 8, rank, size)
        return noise.normal(2, 3), noise.uniform(), noise.integers(10, 1)

    parts = [draw(rank, world_size) for rank in range(world_size)]
    for kind, whole in enumerate(draw(0, 1)):
        assert torch.equal(torch.cat([part[kind] for part in parts]), whole)


def test_noise_depends_on_step_seed_and_draw_and_on_nothing_else():
    def first(seed, step):
        return StepNoise(seed, step, 4).normal(5)

    torch.manual_seed(1)
    reference = first(0, 0)
    torch.manual_seed(2)
    assert torch.equal(first(0, 0), reference)
    noise = StepNoise(0, 0, 4)
    others = [first(0, 1), first(1, 0), (noise.normal(5), noise.normal(5))[1]]
    others.append(StepNoise(0, 0, 4).fork(0, 4).normal(5))
    assert not any(torch.equal(other, reference) for other in others)


def test_a_draw_does_not_depend_on_the_shapes_of_earlier_ones():
    one, other = StepNoise(0, 0, 4), StepNoise(0, 0, 4)
    one.normal(3)
    other.uniform(7, 7)
    assert torch.equal(one.normal(2), other.normal(2))


def test_the_noise_has_the_distribution_it_names():
    noise = StepNoise(0, 0, 1000)
    normal, uniform, integers = noise.normal(100), noise.uniform(100), noise.integers(5, 100)
    assert normal.mean().abs() < 0.02
    assert (normal.std() - 1).abs() < 0.02
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert (uniform.mean() - 0.5).abs() < 0.01
    assert integers.unique().tolist() == [0, 1, 2, 3, 4]
    assert noise.uniform().shape == (1000,)


def test_forks_are_unrelated_and_of_their_own_size():
    noise = StepNoise(0, 7, 4, rank=1, world_size=2)
    first, second = noise.fork(0, 3).normal(2), noise.fork(1, 3).normal(2)
    assert first.shape == (3, 2)
    assert not torch.equal(first, second)
    assert torch.equal(first, StepNoise(0, 7, 64).fork(0, 3).normal(2))


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch of 7 cannot be shared equally by 2"):
        StepNoise(0, 0, 7, 0, 2)


def test_dropout_differs_between_steps_and_seeds_and_repeats():
    def drawn(seed, step):
        seed_step(seed, step, torch.device("cpu"))
        return torch.nn.functional.dropout(torch.ones(100), 0.5)

    assert torch.equal(drawn(0, 0), drawn(0, 0))
    assert not torch.equal(drawn(0, 0), drawn(0, 1))
    assert not torch.equal(drawn(0, 0), drawn(1, 0))


def test_seeds_of_many_places_differ():
    seeds = {derive_seed(name, step) for name in ("a", "b") for step in range(2000)}
    assert len(seeds) == 4000
