"""The terms of the bound against torch.distributions, and their sum against a known likelihood."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions

from visarch.objectives.diffusion import (
    MAX_LOG_SNR,
    MIN_LOG_SNR,
    alpha_sigma,
    ancestral_posterior,
    cosine,
    diffuse,
    diffusion_loss,
    linear,
    log_snr_and_rate,
    target,
    to_data,
    to_noise,
    variance_fraction,
)
from visarch.objectives.diffusion_bound import (
    HYBRID_WEIGHT,
    discretized_log_likelihood,
    hybrid_loss,
    prior_kl,
    step_kl,
)

LOG_SNRS = st.floats(MIN_LOG_SNR, MAX_LOG_SNR)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# Each term.


@given(log_snr=LOG_SNRS)
def test_the_prior_term_is_torchs_divergence(log_snr: float):
    x = draw(3, 2, 4)
    alpha, sigma = alpha_sigma(double(log_snr))
    expected = distributions.kl_divergence(
        distributions.Normal(alpha * x, sigma), distributions.Normal(double(0), double(1))
    )
    actual = prior_kl(x, double(log_snr))
    torch.testing.assert_close(actual, expected.flatten(1).sum(1), rtol=1e-9, atol=1e-9)


@given(later=st.floats(MIN_LOG_SNR, 10), distance=st.floats(0.05, 5), learned=st.booleans())
def test_the_step_term_is_torchs_divergence(later: float, distance: float, learned: bool):
    log_snr_t = double(later).expand(3)
    log_snr_s = log_snr_t + distance
    x, x_t = draw(2, 3, 2, 4)
    guess = x + 0.1 * draw(3, 2, 4)
    fraction = variance_fraction(draw(3, 2, 4)) if learned else 0.0
    mean, variance = ancestral_posterior(x_t, x, log_snr_t, log_snr_s)
    own_mean, own_variance = ancestral_posterior(x_t, guess, log_snr_t, log_snr_s, fraction)
    expected = distributions.kl_divergence(
        distributions.Normal(mean, variance.sqrt()),
        distributions.Normal(own_mean, own_variance.sqrt()),
    )
    actual = step_kl(x, guess, log_snr_t, log_snr_s, fraction)
    torch.testing.assert_close(actual, expected.flatten(1).sum(1), rtol=1e-6, atol=1e-9)


def test_with_the_true_variance_the_step_costs_what_the_snr_gains():
    x, guess = draw(2, 3, 2, 4)
    log_snr_t, log_snr_s = double(0.5), double(1.5)
    gained = log_snr_s.exp() - log_snr_t.exp()
    expected = 0.5 * gained * (x - guess).square().flatten(1).sum(1)
    torch.testing.assert_close(step_kl(x, guess, log_snr_t, log_snr_s), expected)


def test_a_step_that_knows_the_image_costs_nothing():
    x = draw(2, 3)
    assert step_kl(x, x, double(-1.0), double(2.0)).abs().max() == 0
    assert (step_kl(x, x, double(-1.0), double(2.0), 0.3) > 0).all()


def centers(levels: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """All images of one pixel: (levels, 1, 1)."""
    return ((2 * torch.arange(levels, dtype=dtype) + 1) / levels - 1).view(-1, 1, 1)


@given(
    levels=st.sampled_from([2, 5, 256, 65536]),
    mean=st.floats(-3, 3),
    sigma=st.floats(1e-3, 10),
)
def test_the_masses_of_all_levels_are_one(levels: int, mean: float, sigma: float):
    x = centers(levels)
    likelihood = discretized_log_likelihood(x, torch.full_like(x, mean), double(sigma), levels)
    assert likelihood.exp().sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("levels", "level"), [(256, 0), (256, 1), (256, 100), (256, 254), (256, 255)]
)
def test_the_mass_of_a_level_is_what_samples_say(levels: int, level: int):
    sigma, mean = 0.01, float(centers(levels)[level, 0, 0]) + 0.003
    samples = mean + sigma * torch.randn(200_000, dtype=torch.float64)
    cells = ((samples + 1) / 2 * levels).floor().clamp(0, levels - 1)
    share = (cells == level).double().mean()
    x = centers(levels)[level : level + 1]
    likelihood = discretized_log_likelihood(x, torch.full_like(x, mean), double(sigma), levels)
    assert likelihood.exp() == pytest.approx(float(share), abs=4 * math.sqrt(0.25 / 200_000))


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 3.0])
@pytest.mark.parametrize("levels", [2, 256])
def test_single_precision_is_as_good_in_both_tails(levels: int, sigma: float):
    x = centers(levels, torch.float32)
    mean = torch.full_like(x, 0.3)
    single = discretized_log_likelihood(x, mean, torch.tensor(sigma), levels)
    exact = discretized_log_likelihood(x.double(), mean.double(), double(sigma), levels)
    assert single.isfinite().all()
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-3)


def test_a_sharp_decoder_of_the_right_level_costs_nothing():
    x = centers(256)
    assert discretized_log_likelihood(x, x, double(2e-4), 256).abs().max() < 1e-9


# Their sum, for one-pixel images x ~ N(μ, s²) and the best network there is.

MEAN, SPREAD = 0.2, 0.5
NODES, WEIGHTS = (torch.from_numpy(array) for array in np.polynomial.hermite_e.hermegauss(12))
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # of a quadrature over ε ~ N(0, 1)


def best_estimate(x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x given x_t."""
    variance = 1 / (1 / SPREAD**2 + log_snr.exp())
    alpha, sigma = alpha_sigma(log_snr)
    return variance * (MEAN / SPREAD**2 + alpha / sigma.square() * x_t), variance


def average(terms: Tensor) -> Tensor:
    """Expectation over ε of terms at the quadrature's nodes, (…, nodes)."""
    return terms @ WEIGHTS


def best_bound(x: float, num_steps: int) -> float:
    """The bound on −log p(x), its expectations taken by quadrature, with equal steps of λ."""
    log_snr = torch.linspace(MAX_LOG_SNR, MIN_LOG_SNR, num_steps + 1, dtype=torch.float64)
    earlier, later = (
        values.repeat_interleave(len(NODES)) for values in (log_snr[:-1], log_snr[1:])
    )
    image = torch.full((num_steps * len(NODES), 1, 1), x, dtype=torch.float64)
    noise = NODES.repeat(num_steps).view(-1, 1, 1)
    x_t = diffuse(image, noise, later)
    guess, _ = best_estimate(x_t, later.view(-1, 1, 1))
    diffusion = average(step_kl(image, guess, later, earlier).view(num_steps, -1)).sum()

    first = diffuse(image[: len(NODES)], NODES.view(-1, 1, 1), log_snr[0])
    mean, variance = best_estimate(first, log_snr[0])
    decoder = distributions.Normal(mean, variance.sqrt())
    reconstruction = average(decoder.log_prob(image[: len(NODES)]).flatten())
    return float(prior_kl(image[:1], log_snr[-1]) + diffusion - reconstruction)


@pytest.mark.parametrize("x", [-1.0, 0.0, 0.2, 1.3])
def test_the_bound_tends_to_the_likelihood(x: float):
    """It is above for every T, by something in proportion to 1/T, which extrapolation removes."""
    exact = -float(distributions.Normal(MEAN, SPREAD).log_prob(torch.tensor(x)))
    gaps = [best_bound(x, num_steps) - exact for num_steps in (500, 1000, 2000)]
    assert all(gap > 0 for gap in gaps)
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.03)
    assert 2 * gaps[2] - gaps[1] == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("schedule", [cosine, linear])
@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_bounds_weighting_integrates_to_the_entropy(schedule, prediction):
    """E −log p(x) = prior + ∫ loss dt + decoder: the bound for T → ∞ is exact for the best network.

    Its loss, quadratic in x and ε, has its mean over both at x = μ ± s and ε = ± 1.
    """
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t, width = u**4, 4 * u**3 / 20_000  # more of them where the loss is steep
    log_snr, rate = log_snr_and_rate(schedule, t)
    diffusion, prior, decoder = 0.0, 0.0, 0.0
    for x in (MEAN - SPREAD, MEAN + SPREAD):
        image = torch.full((len(t), 1, 1), x, dtype=torch.float64)
        for noise in (-torch.ones_like(image), torch.ones_like(image)):
            x_t = diffuse(image, noise, log_snr)
            guess, _ = best_estimate(x_t, log_snr.view(-1, 1, 1))
            output = target(guess, to_noise(guess, x_t, log_snr, "x0"), log_snr, prediction)
            losses = diffusion_loss(
                output, image, noise, log_snr, rate, prediction=prediction, weighting="elbo"
            )
            diffusion += float(losses @ width) / 4

            start = diffuse(image[:1], noise[:1], schedule(double(0.0)))
            mean, variance = best_estimate(start, schedule(double(0.0)))
            decoder -= float(distributions.Normal(mean, variance.sqrt()).log_prob(image[:1])) / 4
        prior += float(prior_kl(image[:1], schedule(double(1.0)))) / 2
    entropy = float(distributions.Normal(MEAN, SPREAD).entropy())
    assert prior + diffusion + decoder == pytest.approx(entropy, abs=1e-3)


# Learned variances.


def hybrid(output: Tensor, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    log_snr, rate = log_snr_and_rate(cosine, t)
    earlier = cosine((t - 1 / 100).clamp(min=0))
    return hybrid_loss(
        output, x, noise, log_snr, rate, earlier, prediction="v", weighting="simple", num_steps=100
    )


def test_the_hybrid_loss_is_the_loss_of_the_mean_and_the_divergence():
    x, noise = draw(2, 4, 3, 2, 2)
    output, t = draw(4, 6, 2, 2), torch.tensor([0.0, 0.005, 0.4, 1.0], dtype=torch.float64)
    log_snr, rate = log_snr_and_rate(cosine, t)
    earlier = cosine((t - 1 / 100).clamp(min=0))
    simple = diffusion_loss(output[:, :3], x, noise, log_snr, rate, prediction="v")
    guess = to_data(output[:, :3], diffuse(x, noise, log_snr), log_snr, "v")
    kl = step_kl(x, guess, log_snr, earlier, variance_fraction(output[:, 3:]))
    torch.testing.assert_close(
        hybrid(output, x, noise, t), simple + HYBRID_WEIGHT * 100 * kl / (3 * 2 * 2)
    )


def test_the_divergence_teaches_the_variance_alone():
    x, noise = draw(2, 4, 3, 2, 2)
    t = torch.rand(4, dtype=torch.float64)
    output = draw(4, 6, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(hybrid(output, x, noise, t).sum(), output)
    log_snr, rate = log_snr_and_rate(cosine, t)
    simple = diffusion_loss(output[:, :3], x, noise, log_snr, rate, prediction="v")
    (of_mean,) = torch.autograd.grad(simple.sum(), output)
    assert torch.equal(gradient[:, :3], of_mean[:, :3])
    assert (gradient[:, 3:] != 0).all()


def test_the_best_variance_is_that_of_the_true_step():
    """p(x_s | x_t) of Gaussian data has the variance β̃ + (∂mean/∂x)² var(x | x_t)."""
    log_snr_t, log_snr_s = double(0.0), double(1.0)
    zero, one = torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double()
    slope = ancestral_posterior(zero, one, log_snr_t, log_snr_s)[0]
    _, lower = ancestral_posterior(zero, zero, log_snr_t, log_snr_s)
    _, upper = ancestral_posterior(zero, zero, log_snr_t, log_snr_s, 1.0)
    _, spread = best_estimate(zero, log_snr_t)
    best = (lower + slope.square() * spread).log()
    fraction = ((best - lower.log()) / (upper.log() - lower.log())).requires_grad_()
    assert 0 < fraction < 1
    # x, x̂ and x_t that have the law of Gaussian data: x − x̂ is independent of x̂
    x = spread.sqrt() * NODES.view(-1, 1, 1)
    kl = average(step_kl(x, torch.zeros_like(x), log_snr_t, log_snr_s, fraction.expand_as(x)))
    (gradient,) = torch.autograd.grad(kl, fraction)
    assert gradient.abs().max() < 1e-10
