"""The arc between two noises, and from an image back to its noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visarch.objectives.diffusion import SCHEDULES, Schedule, cosine
from visarch.sampling import ddim, invert, log_snr_times, slerp, uniform_times

from .gaussian import GaussianData

SHAPE = (3, 32, 32)

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# The arc.


def test_the_ends_are_the_ends():
    start, end = draw(2, *SHAPE)
    first, last = slerp(start, end, torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(first, start)
    torch.testing.assert_close(last, end)


def test_all_along_it_looks_like_noise():
    """Its deviation stays 1, where the straight line would come down to 0.71 half-way."""
    start, end = draw(2, *SHAPE)
    weights = torch.linspace(0, 1, 11, dtype=torch.float64)
    along = slerp(start, end, weights)
    assert along.shape == (11, *SHAPE)
    assert (along.flatten(1).std(1) - 1).abs().max() < 0.03
    assert (along.flatten(1).mean(1)).abs().max() < 0.05
    assert ((start + end) / 2).std() < 0.75


@given(angle=st.floats(0.01, 3.1), weight=st.floats(0, 1))
def test_the_angle_is_shared_in_proportion(angle: float, weight: float):
    """Of two unit vectors: a unit vector, as far along as the weight says."""
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    end = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    expected = [math.cos(weight * angle), math.sin(weight * angle), 0]
    (between,) = slerp(start, end, torch.tensor([weight], dtype=torch.float64))
    assert between.tolist() == pytest.approx(expected, abs=1e-9)


def test_parallel_noises_are_joined_by_a_line():
    start = torch.randn(SHAPE)
    weights = torch.linspace(0, 1, 5)
    along = slerp(start, 2 * start, weights)
    torch.testing.assert_close(along, (1 + weights).view(-1, 1, 1, 1) * start)


# From image to noise.


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES)
def data(request: pytest.FixtureRequest) -> GaussianData:
    mean = torch.tensor([[0.3, -0.5, 0.0]], dtype=torch.float64)
    spread = torch.tensor([[0.5, 1.0, 0.1]], dtype=torch.float64)
    return GaussianData(mean, spread, request.param)


@pytest.mark.parametrize("num_steps", [5, 20])
def test_ddim_brings_the_image_back(data: GaussianData, num_steps: int):
    """The more exactly, the longer each step is solved for."""
    x, grid = data.mean + data.spread * draw(4, 1, 3), log_snr_times(num_steps, data.schedule)

    def error(iterations: int) -> float:
        noise = invert(data.denoise, x, grid, data.schedule, iterations=iterations)
        return float((ddim(data.denoise, noise, grid, data.schedule) - x).abs().max())

    errors = [error(iterations) for iterations in (1, 3, 10, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


def test_an_image_that_ddim_made_comes_back_by_default():
    """A network that is not linear: from noise to image, to noise, to image."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return 0.8 * (0.6 * x + 0.3 * x.roll(1, -1)).tanh()

    grid = log_snr_times(50, cosine)
    image = ddim(denoise, draw(4, 1, 8), grid, cosine)
    noise = invert(denoise, image, grid, cosine)
    error = ddim(denoise, noise, grid, cosine) - image
    assert error.abs().max() < 0.01
    assert image.std() > 0.1


def test_the_noise_is_that_of_the_quantile(data: GaussianData):
    """In the limit of many steps: (x − μ)/s, standard normal where x has the law of the data."""
    quantile = draw(4, 1, 3)
    noise = invert(
        data.denoise,
        data.mean + data.spread * quantile,
        log_snr_times(300, data.schedule),
        data.schedule,
    )
    torch.testing.assert_close(noise, quantile, rtol=0, atol=0.05)


@every_schedule
@pytest.mark.parametrize("iterations", [1, 3])
def test_inversion_costs_what_it_says_and_never_looks_at_time_zero(
    schedule: Schedule, iterations: int
):
    seen: list[float] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t[0]))
        return 0.5 * x

    grid = uniform_times(4)
    out = invert(denoise, torch.randn(2, 1, 3), grid, schedule, iterations=iterations)
    assert seen == [t for t in (0.25, 0.5, 0.75, 1.0) for _ in range(iterations)]
    assert out.isfinite().all()


def test_an_inverted_image_does_not_depend_on_its_batch():
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return x.tanh()

    x, grid = draw(3, 1, 5), uniform_times(4)
    whole = invert(denoise, x, grid, cosine)
    for k in range(3):
        assert torch.equal(invert(denoise, x[k : k + 1], grid, cosine), whole[k : k + 1])
