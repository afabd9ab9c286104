"""Samplers on data whose laws are known, and what they promise to their callers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from visarch.objectives.diffusion import SCHEDULES, Schedule, alpha_sigma, cosine, linear
from visarch.sampling import (
    SAMPLERS,
    ddim,
    ddpm,
    dpm_solver_pp,
    heun,
    log_snr_times,
    num_evaluations,
    time_at,
    uniform_times,
)

from .gaussian import GaussianData, law_of

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES)
def data(request: pytest.FixtureRequest) -> GaussianData:
    mean = torch.tensor([[0.3, -0.5, 0.0]], dtype=torch.float64)
    spread = torch.tensor([[0.5, 1.0, 0.1]], dtype=torch.float64)
    return GaussianData(mean, spread, request.param)


def bent(x: Tensor, t: Tensor) -> Tensor:
    """An estimate that is not linear, elementwise: what it makes of one image is its own affair."""
    return (1.5 * x + (9 * t).sin().view(-1, *(1,) * (x.ndim - 1))).tanh()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def noise_like(x: Tensor, seed: int = 0) -> Callable[[int], Tensor]:
    """Noise of each step, the same for the same seed."""

    def noise(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        return torch.randn(x.shape, dtype=x.dtype, generator=generator)

    return noise


# Laws.


def grid_between(schedule: Schedule, first: float, last: float, num_steps: int) -> Tensor:
    """Equal steps of λ, that end before time 0."""
    values = torch.linspace(first, last, num_steps + 1, dtype=torch.float64)
    return time_at(schedule, values)


@pytest.mark.parametrize(
    ("sampler", "order"), [(ddim, 1), (heun, 2), (dpm_solver_pp, 2)], ids=["ddim", "heun", "dpm++"]
)
def test_the_ode_is_solved_with_the_right_order(data: GaussianData, sampler, order: int):
    """Twice the steps, half the error, or a quarter of it."""
    x, first, last = draw(5, 1, 3), -5.0, 5.0
    ends = torch.tensor([first, last], dtype=torch.float64)
    exact = data.flow(x, *ends)
    errors = []
    for num_steps in (50, 100, 200, 400):
        grid = grid_between(data.schedule, first, last, num_steps)
        errors.append(float((sampler(data.denoise, x, grid, data.schedule) - exact).abs().max()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(order, abs=0.1)
    assert slopes == sorted(slopes, key=lambda slope: abs(slope - order), reverse=True)
    assert errors[-1] < (2e-2 if order == 1 else 1e-4)


@pytest.mark.parametrize("sampler", [ddim, heun, dpm_solver_pp])
def test_noise_becomes_data_of_the_right_law(data: GaussianData, sampler):
    """From time 1 to time 0, whose last step is x̂: each pixel keeps its quantile."""
    x = draw(5, 1, 3)
    grid = log_snr_times(500, data.schedule, last=12.0)
    out = sampler(data.denoise, x, grid, data.schedule)
    torch.testing.assert_close(out, data.mean + data.spread * x, rtol=0, atol=2e-2)


def test_ancestral_sampling_reproduces_mean_and_variance(data: GaussianData):
    grid = log_snr_times(1000, data.schedule, last=12.0)
    sample = partial(ddpm, data.denoise, times=grid, schedule=data.schedule)
    mean, variance = law_of(lambda x, noise: sample(x=x, noise=noise), (1, 3), 1000)
    torch.testing.assert_close(mean, data.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(variance, data.spread**2, rtol=0.03, atol=0)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_with_the_right_variances_few_ancestral_steps_are_exact(data: GaussianData, num_steps: int):
    """p(x_s | x_t) of Gaussian data is Gaussian: with its own variance there is no error."""
    grid = grid_between(data.schedule, -9.0, 4.0, num_steps)
    levels = data.schedule(grid)

    def denoise(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        step = int((grid - t[0]).abs().argmin())
        fraction = data.best_fraction(levels[step], levels[step + 1])
        return data.denoise(x, t), fraction.expand_as(x)

    start_alpha, start_sigma = alpha_sigma(levels[0])
    start_deviation = data.variance(start_alpha, start_sigma).sqrt()
    mean, variance = law_of(
        lambda x, noise: ddpm(
            denoise, start_alpha * data.mean + start_deviation * x, grid, data.schedule, noise=noise
        ),
        (1, 3),
        num_steps,
    )
    alpha, sigma = alpha_sigma(levels[-1])
    torch.testing.assert_close(mean, alpha * data.mean)
    torch.testing.assert_close(variance, data.variance(alpha, sigma))


def test_a_ddim_step_that_is_all_noise_is_ancestral(data: GaussianData):
    x, grid = draw(4, 1, 3), uniform_times(7)
    ancestral = ddpm(data.denoise, x, grid, data.schedule, noise=noise_like(x))
    implicit = ddim(data.denoise, x, grid, data.schedule, noise=noise_like(x), eta=1.0)
    torch.testing.assert_close(implicit, ancestral)


def test_one_step_is_the_estimate():
    x = draw(3, 2, 4)
    for sampler in SAMPLERS.values():
        out = sampler(bent, x, torch.tensor([0.7, 0.0]), cosine)
        torch.testing.assert_close(out, bent(x, torch.full((3,), 0.7, dtype=torch.float64)))


@pytest.mark.parametrize("sampler", [ddim, heun, dpm_solver_pp])
def test_an_estimate_that_is_certain_is_reached_exactly(sampler):
    """x̂ = c: then x_t = α c + σ ε stays on its line, whatever the steps are."""
    certain, epsilon = draw(2, 1, 2, 3).unbind()
    start, end = torch.tensor([0.9, 0.2], dtype=torch.float64)
    (alpha, sigma), (alpha_end, sigma_end) = (alpha_sigma(cosine(t)) for t in (start, end))
    x = alpha * certain + sigma * epsilon
    grid = torch.tensor([0.9, 0.6, 0.55, 0.2], dtype=torch.float64)
    out = sampler(lambda x, t: certain, x, grid, cosine)
    torch.testing.assert_close(out, alpha_end * certain + sigma_end * epsilon)


def test_a_grid_can_be_gone_on_from():
    x, grid = draw(3, 2, 4), uniform_times(8)
    for sampler in (ddim, heun):
        halfway = sampler(bent, x, grid[:5], cosine)
        torch.testing.assert_close(
            sampler(bent, halfway, grid[4:], cosine), sampler(bent, x, grid, cosine)
        )


# The default grid.


def test_the_grid_of_equal_log_snr_is_worth_it():
    """DPM-Solver++ on pixels of widths from 1 down to 1/300, as the spectrum of images has them."""
    spread = torch.logspace(0, -2.5, 64, dtype=torch.float64).view(1, -1)
    data = GaussianData(torch.zeros_like(spread), spread, cosine)
    x = torch.ones(1, 1, 64, dtype=torch.float64)

    def error(grid: Tensor) -> float:
        out = dpm_solver_pp(data.denoise, x, grid, cosine)
        return float((out - spread).norm() / spread.norm())

    for num_steps in (10, 20):
        assert error(log_snr_times(num_steps, cosine)) < 0.5 * error(uniform_times(num_steps))
    assert error(log_snr_times(20, cosine)) < 0.02


# What callers rely on.


@every_sampler
def test_an_image_does_not_depend_on_its_batch(name: str):
    x, grid = torch.randn(5, 2, 3, 3), log_snr_times(6, cosine)
    noise = noise_like(x)
    whole = SAMPLERS[name](bent, x, grid, cosine, noise=noise)
    for k in range(5):
        alone = SAMPLERS[name](
            bent, x[k : k + 1], grid, cosine, noise=lambda step, k=k: noise(step)[k : k + 1]
        )
        assert torch.equal(alone, whole[k : k + 1])


@every_sampler
@pytest.mark.parametrize("shape", [(2, 1, 7), (2, 3, 5, 4), (2, 1, 3, 4, 2)])
def test_any_number_of_axes_in_any_precision(name: str, shape: tuple[int, ...]):
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(shape, dtype=dtype)
        out = SAMPLERS[name](bent, x, log_snr_times(4, linear), linear, noise=noise_like(x))
        assert out.shape == shape
        assert out.dtype == dtype
        assert out.isfinite().all()


DRAWS = {"ddpm": True, "ddim": False, "ddim, η = ½": True, "heun": False, "dpm++": False}
SOME = {**SAMPLERS, "ddim, η = ½": partial(ddim, eta=0.5)}


@pytest.mark.parametrize("name", DRAWS)
def test_the_last_step_adds_no_noise(name: str):
    """What comes out is the last estimate itself, and noise is asked for only before."""
    x, asked, seen = draw(2, 1, 3), [], []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return draw(2, 1, 3)

    out = SOME[name](
        bent,
        x,
        uniform_times(5),
        cosine,
        noise=noise,
        watch=lambda step, x, data: seen.append((step, x, data)),
    )
    assert asked == ([0, 1, 2, 3] if DRAWS[name] else [])
    assert [step for step, _, _ in seen] == [0, 1, 2, 3, 4]
    assert torch.equal(out, seen[-1][1])
    torch.testing.assert_close(out, seen[-1][2])


@pytest.mark.parametrize("name", DRAWS)
def test_an_early_end_keeps_its_noise(name: str):
    """… and its last step adds some, since it is not at time 0."""
    x, asked = draw(2, 1, 3), []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return draw(2, 1, 3)

    SOME[name](bent, x, uniform_times(5)[:-1], cosine, noise=noise)
    assert asked == ([0, 1, 2, 3] if DRAWS[name] else [])


@every_sampler
@pytest.mark.parametrize("num_steps", [1, 2, 9])
def test_evaluations_are_counted_honestly(name: str, num_steps: int):
    x, count = draw(2, 1, 3), 0

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return bent(x, t)

    SAMPLERS[name](denoise, x, log_snr_times(num_steps, cosine), cosine, noise=noise_like(x))
    assert count == num_evaluations(name, num_steps)
    assert num_evaluations(name, num_steps, guided=True) == 2 * count


@every_sampler
def test_times_reach_the_network_as_it_wants_them(name: str):
    """One for each image, from those of the grid, in the precision of the images."""
    x, grid, seen = torch.randn(3, 1, 2), log_snr_times(4, cosine), []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (3,)
        assert t.dtype == x.dtype
        assert (t == t[0]).all()
        seen.append(float(t[0]))
        return bent(x, t)

    SAMPLERS[name](denoise, x, grid, cosine, noise=noise_like(x))
    assert sorted(set(seen), reverse=True) == grid[:-1].float().tolist()


@every_sampler
def test_no_step_waits_for_the_device(name: str):
    """Tensors without values pass through: nothing is read back from them."""
    x = torch.empty(2, 1, 3, device="meta")
    sampler = partial(SAMPLERS[name], noise=lambda step: torch.empty_like(x))
    if name == "ddim":
        sampler = partial(sampler, eta=0.5)
    out = sampler(bent, x, log_snr_times(4, cosine), cosine)
    assert out.is_meta
    assert out.dtype == torch.float32


@pytest.mark.parametrize("sampler", [ddpm, partial(ddim, eta=0.1)], ids=["ddpm", "ddim"])
def test_missing_noise_is_answered(sampler):
    with pytest.raises(ValueError, match=r"adds noise at step 0: pass it as noise="):
        sampler(bent, draw(2, 1, 3), uniform_times(3), cosine)


@every_sampler
@pytest.mark.parametrize(
    "times", [[0.0, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0], [0.5], [1.5, 0.0], [0.5, -0.1]]
)
def test_times_that_do_not_fall_are_answered(name: str, times: list[float]):
    with pytest.raises(ValueError, match=r"times are .*: they must fall from 1 or less to 0"):
        SAMPLERS[name](bent, draw(2, 1, 3), torch.tensor(times), cosine)


@every_sampler
def test_the_start_is_left_as_it_was(name: str):
    x = draw(2, 1, 3)
    before = x.clone()
    SAMPLERS[name](bent, x, uniform_times(3), cosine, noise=noise_like(x))
    assert torch.equal(x, before)


@every_schedule
def test_the_ends_of_time_give_finite_images(schedule: Schedule):
    """From time 1, where α is smallest, in single precision."""
    x = torch.randn(4, 1, 3)
    for sampler in SAMPLERS.values():
        out = sampler(bent, x, uniform_times(50), schedule, noise=noise_like(x))
        assert out.isfinite().all()
        assert out.abs().max() <= 1
