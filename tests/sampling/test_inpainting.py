"""Inpainting: the known part is kept exactly, and the rest follows from it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from visarch.objectives.diffusion import alpha_sigma, cosine
from visarch.sampling import (
    SAMPLERS,
    ddim,
    ddpm,
    dpm_solver_pp,
    heun,
    inpainted,
    log_snr_times,
    repaint,
    uniform_times,
)

from .gaussian import GaussianData, law_of

every_sampler = pytest.mark.parametrize("name", SAMPLERS)

MASK = torch.tensor([[[True, False, True, False, False]]])


def bent(x: Tensor, t: Tensor) -> Tensor:
    """Not linear, and the pixels see their neighbors."""
    return (x + 0.5 * x.roll(1, -1) + (9 * t).sin().view(-1, 1, 1)).tanh()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def noise_of(shape: tuple[int, ...]):
    def noise(step: int) -> Tensor:
        return torch.randn(
            shape, dtype=torch.float64, generator=torch.Generator().manual_seed(step)
        )

    return noise


@every_sampler
@pytest.mark.parametrize("rounds", [1, 3])
def test_the_known_part_is_left_exactly(name: str, rounds: int):
    known, x = draw(2, 2, 1, 5)
    out = repaint(
        SAMPLERS[name],
        inpainted(bent, known, MASK),
        x,
        log_snr_times(7, cosine),
        cosine,
        noise=noise_of((2, 1, 5)),
        rounds=rounds,
        jump=2,
    )
    assert torch.equal(out[MASK.expand_as(out)], known[MASK.expand_as(out)])
    assert (out != known)[~MASK.expand_as(out)].all()


@every_sampler
def test_what_is_not_known_does_not_matter(name: str):
    known, x = draw(2, 2, 1, 5)
    grid, noise = log_snr_times(5, cosine), noise_of((2, 1, 5))
    whole = SAMPLERS[name](inpainted(bent, known, MASK), x, grid, cosine, noise=noise)
    holes = torch.where(MASK, known, math.nan)
    assert torch.equal(
        SAMPLERS[name](inpainted(bent, holes, MASK), x, grid, cosine, noise=noise), whole
    )
    assert whole.isfinite().all()


@every_sampler
def test_nothing_known_is_sampling_and_all_known_is_the_image(name: str):
    known, x = draw(2, 2, 1, 5)
    grid, noise = log_snr_times(5, cosine), noise_of((2, 1, 5))

    def sample(denoise) -> Tensor:
        return SAMPLERS[name](denoise, x, grid, cosine, noise=noise)

    nothing, everything = torch.zeros_like(MASK), torch.ones_like(MASK)
    assert torch.equal(sample(inpainted(bent, known, nothing)), sample(bent))
    assert torch.equal(sample(inpainted(bent, known, everything)), known)


@pytest.mark.parametrize("sampler", [ddim, heun, dpm_solver_pp])
def test_on_its_way_the_known_part_is_the_diffused_image(sampler):
    """α_t x + σ_t ε with the ε it started from."""
    known, epsilon = draw(2, 2, 1, 5)
    grid = uniform_times(6)[1:]
    alpha, sigma = alpha_sigma(cosine(grid))
    x = alpha[0] * known + sigma[0] * epsilon
    states: list[Tensor] = []
    sampler(
        inpainted(bent, known, MASK),
        x,
        grid,
        cosine,
        watch=lambda step, x, data: states.append(x),
    )
    where = MASK.expand_as(x)
    for k, state in enumerate(states[:-1], start=1):
        expected = alpha[k] * known + sigma[k] * epsilon
        torch.testing.assert_close(state[where], expected[where])


def test_with_ancestral_steps_it_has_the_law_of_the_diffused_image():
    known, grid = draw(1, 1, 5), uniform_times(6)[:-1]
    (alpha, sigma), (alpha_0, sigma_0) = (alpha_sigma(cosine(grid[k])) for k in (-1, 0))
    mean, variance = law_of(
        lambda x, noise: ddpm(
            inpainted(lambda x, t: 0.9 * x, known, MASK),
            alpha_0 * known + sigma_0 * x,
            grid,
            cosine,
            noise=noise,
        ),
        (1, 5),
        5,
    )
    torch.testing.assert_close(mean[MASK[0]], alpha * known[MASK])
    torch.testing.assert_close(variance[MASK[0]], sigma.square().expand(2))


def test_a_learned_variance_passes_through():
    known, x = draw(2, 2, 1, 5)
    fraction = draw(2, 1, 5)
    data, kept = inpainted(lambda x, t: (bent(x, t), fraction), known, MASK)(x, torch.rand(2))
    assert kept is fraction
    assert torch.equal(data[MASK.expand_as(x)], known[MASK.expand_as(x)])


# Resampling.


@every_sampler
def test_one_round_is_the_sampler_itself(name: str):
    x, grid, noise = draw(2, 1, 5), log_snr_times(7, cosine), noise_of((2, 1, 5))
    plain = SAMPLERS[name](bent, x, grid, cosine, noise=noise)
    assert torch.equal(
        repaint(SAMPLERS[name], bent, x, grid, cosine, noise=noise, rounds=1, jump=2), plain
    )


@pytest.mark.parametrize(("rounds", "jump"), [(2, 1), (3, 2), (2, 4), (2, 100)])
def test_each_draw_and_each_step_has_a_number_of_its_own(rounds: int, jump: int):
    x, grid, asked, seen = draw(2, 1, 5), uniform_times(7), [], []

    def noise(step: int) -> Tensor:
        asked.append(step)
        return draw(2, 1, 5)

    repaint(
        ddpm,
        bent,
        x,
        grid,
        cosine,
        noise=noise,
        watch=lambda step, x, data: seen.append(step),
        rounds=rounds,
        jump=jump,
    )
    stretches = math.ceil(7 / jump)
    assert len(seen) == 7 * rounds
    assert len(asked) == 7 * rounds - rounds + stretches * (rounds - 1)  # but not into time 0
    returns = set(range(7 * rounds + stretches * (rounds - 1))) - set(seen)
    assert len(returns) == stretches * (rounds - 1)
    assert returns <= set(asked)
    assert asked == sorted(set(asked))
    assert seen == sorted(set(seen))


def test_resampling_keeps_the_law():
    """With the right variances each round is exact, so that the data's law comes out."""
    data = GaussianData(torch.tensor([[0.3, -0.5]]), torch.tensor([[0.5, 0.1]]), cosine)
    data.mean, data.spread = data.mean.double(), data.spread.double()
    grid = uniform_times(4)[:-1]
    levels = cosine(grid)

    def denoise(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        step = int((grid - t[0]).abs().argmin())
        fraction = data.best_fraction(levels[step], levels[step + 1])
        return data.denoise(x, t), fraction.expand_as(x)

    (alpha, sigma), (alpha_0, sigma_0) = (alpha_sigma(levels[k]) for k in (-1, 0))
    mean, variance = law_of(
        lambda x, noise: repaint(
            ddpm,
            denoise,
            alpha_0 * data.mean + data.variance(alpha_0, sigma_0).sqrt() * x,
            grid,
            cosine,
            noise=noise,
            rounds=3,
        ),
        (1, 2),
        3 * 3 + 3 * 2,
    )
    torch.testing.assert_close(mean, alpha * data.mean)
    torch.testing.assert_close(variance, data.variance(alpha, sigma))


def test_resampling_fits_the_rest_to_what_is_known():
    """Two pixels that are nearly equal: the unknown one should be 0.9 times the known one."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(cosine(t[:1]))
        inverse = torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2).double())
        return alpha * x @ inverse @ covariance

    known, mask = torch.ones(1, 1, 2).double(), torch.tensor([[[True, False]]])

    def unknown(rounds: int) -> float:
        out = repaint(
            ddpm,
            inpainted(denoise, known, mask),
            torch.zeros(1, 1, 2).double(),
            log_snr_times(50, cosine),
            cosine,
            noise=lambda step: torch.zeros(1, 1, 2).double(),  # the sampler is affine: its mean
            rounds=rounds,
        )
        return float(out[0, 0, 1])

    errors = [abs(unknown(rounds) - 0.9) for rounds in (1, 4, 16)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize(("name", "settings"), [("rounds", {"rounds": 0}), ("jump", {"jump": 0})])
def test_impossible_rounds_are_answered(name: str, settings: dict[str, int]):
    with pytest.raises(ValueError, match=f"{name} is 0: it must be at least 1"):
        repaint(
            ddim,
            bent,
            draw(2, 1, 5),
            uniform_times(3),
            cosine,
            noise=noise_of((2, 1, 5)),
            **settings,
        )
