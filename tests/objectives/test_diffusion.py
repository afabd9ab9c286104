"""Schedules, conversions and losses: closed forms, both ends of time, agreement of predictions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visarch.objectives.diffusion import (
    MAX_LOG_SNR,
    MIN_LOG_SNR,
    MIN_SNR_GAMMA,
    SCHEDULES,
    SIGMOID_BIAS,
    Schedule,
    alpha_sigma,
    ancestral_posterior,
    cosine,
    diffuse,
    diffuse_further,
    diffusion_loss,
    linear,
    log_snr_and_rate,
    loss_weight,
    stratified_times,
    target,
    to_data,
    to_noise,
    variance_fraction,
)

PREDICTIONS = ["epsilon", "x0", "v"]
WEIGHTINGS = ["simple", "min_snr", "sigmoid", "elbo"]
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)  # C, H, …
LOG_SNRS = st.floats(MIN_LOG_SNR, MAX_LOG_SNR)

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def assert_equal(actual, expected, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def times(count: int = 1001, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linspace(0, 1, count, dtype=dtype)


# Schedules.


@every_schedule
def test_the_log_snr_falls_everywhere(schedule: Schedule):
    assert (schedule(times(100_001)).diff() < 0).all()


@every_schedule
def test_the_log_snr_starts_at_its_limit_and_stays_within(schedule: Schedule):
    for dtype in (torch.float64, torch.float32):
        log_snr = schedule(times(dtype=dtype))
        assert log_snr[0] == pytest.approx(MAX_LOG_SNR, abs=1e-5)
        assert log_snr[-1] >= MIN_LOG_SNR - 1e-5
    assert cosine(torch.tensor(1.0)) == pytest.approx(MIN_LOG_SNR, abs=1e-5)


@every_schedule
def test_single_precision_is_as_good_at_both_ends(schedule: Schedule):
    t = times(100_001, torch.float32)
    assert_equal(schedule(t).double(), schedule(t.double()), 1e-5)


def test_the_cosine_is_one():
    """α = cos(π t / 2), σ = sin(π t / 2): as far as the limits reach."""
    alpha, sigma = alpha_sigma(cosine(times()))
    assert_equal(alpha, (math.pi / 2 * times()).cos(), 6e-4)
    assert_equal(sigma, (math.pi / 2 * times()).sin(), 6e-4)
    steps = torch.atan2(sigma, alpha).diff()  # of the angle: all the same
    assert_equal(steps, steps.mean().expand(1000), 1e-12)


def test_the_linear_schedule_integrates_beta():
    t = times(100_001)
    beta = 0.1 + (20 - 0.1) * t
    integral = torch.cumulative_trapezoid(beta, t)
    alpha, _ = alpha_sigma(linear(t[1:]))
    assert_equal(alpha.square(), torch.exp(-integral), math.exp(-MAX_LOG_SNR))


def test_the_linear_schedule_is_ddpms():
    """ᾱ after step i of 1000 with β from 1e-4 to 0.02 is α² at i/1000, nearly."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    steps = (1 - beta).cumprod(0)
    alpha, _ = alpha_sigma(linear(times(1001)[1:]))
    assert_equal(alpha.square(), steps, 4e-3)


@every_schedule
def test_the_rate_is_the_slope(schedule: Schedule):
    """… as differences show it, in the middle of each of them."""
    t = times(100_001)
    middle = (t[1:] + t[:-1]) / 2
    log_snr, rate = log_snr_and_rate(schedule, middle)
    assert torch.equal(log_snr, schedule(middle))
    late = middle > 0.001  # before, λ is too steep for differences
    torch.testing.assert_close(
        rate[late], -(schedule(t).diff() / t.diff())[late], rtol=1e-4, atol=0
    )


@every_schedule
def test_the_rate_is_finite_at_both_ends_in_single_precision(schedule: Schedule):
    _, rate = log_snr_and_rate(schedule, times(51))
    assert rate.isfinite().all()
    assert (rate > 0).all()
    _, single = log_snr_and_rate(schedule, times(51, torch.float32))
    torch.testing.assert_close(single.double(), rate, rtol=1e-3, atol=0)


def test_the_rate_needs_no_graph():
    with torch.no_grad():
        _, rate = log_snr_and_rate(cosine, torch.tensor([0.5]))
    assert rate == pytest.approx(2 * math.pi, rel=2e-3)  # 2π / sin(π t)


# Times.


@given(processes=st.integers(1, 5), each=st.integers(1, 7))
def test_every_stratum_has_one_time_however_many_processes(processes: int, each: int):
    total = processes * each
    uniform = torch.rand(total)
    whole = stratified_times(uniform)
    torch.testing.assert_close(whole * total, torch.arange(total) + uniform)
    parts = [
        stratified_times(part, first=rank * each, total=total)
        for rank, part in enumerate(uniform.split(each))
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_strata_make_the_mean_steadier():
    """The mean of 16 times: its variance is that within strata, 16² times less than plain."""
    draws = torch.rand(500, 16)
    means = torch.stack([stratified_times(uniform).mean() for uniform in draws])
    assert means.mean() == pytest.approx(0.5, abs=1e-2)
    assert means.var() < 2 / 256 * draws.mean(1).var()


# α and σ.


@given(log_snr=st.floats(-40, 40))
def test_alpha_and_sigma_preserve_variance_and_have_the_snr(log_snr: float):
    alpha, sigma = alpha_sigma(torch.tensor(log_snr, dtype=torch.float64))
    assert alpha.square() + sigma.square() == pytest.approx(1, abs=1e-14)
    assert 2 * (alpha.log() - sigma.log()) == pytest.approx(log_snr, abs=1e-9)


def test_alpha_and_sigma_are_exact_where_they_are_small():
    log_snr = torch.linspace(-30, 30, 601)
    for single, double in zip(alpha_sigma(log_snr), alpha_sigma(log_snr.double()), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)


def test_infinite_log_snr_is_the_end():
    alpha, sigma = alpha_sigma(torch.tensor([-torch.inf, torch.inf]))
    assert alpha.tolist() == [0, 1]
    assert sigma.tolist() == [1, 0]


# Predictions.


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(shape=SHAPES, log_snr=LOG_SNRS)
def test_the_target_gives_back_image_and_noise(prediction: str, shape, log_snr: float):
    x, noise = draw(2, 3, *shape)
    level = torch.full((3,), log_snr, dtype=torch.float64)
    x_t, output = diffuse(x, noise, level), target(x, noise, level, prediction)
    assert_equal(to_data(output, x_t, level, prediction), x, 1e-9)
    assert_equal(to_noise(output, x_t, level, prediction), noise, 1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(log_snr=LOG_SNRS)
def test_every_output_splits_the_image_it_was_made_of(prediction: str, log_snr: float):
    """α x̂ + σ ε̂ = x_t, and another network that meant the same would put out the same."""
    x_t, output = draw(2, 3, 2, 4)
    level = torch.tensor(log_snr, dtype=torch.float64)
    data = to_data(output, x_t, level, prediction)
    noise = to_noise(output, x_t, level, prediction)
    size = 1 + data.abs().max() + noise.abs().max()
    assert_equal(diffuse(data, noise, level) / size, x_t / size)
    assert_equal(target(data, noise, level, prediction) / size, output / size)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("log_snr", [MIN_LOG_SNR, -10.0, 10.0, MAX_LOG_SNR])
def test_conversions_are_stable_at_both_ends(prediction: str, log_snr: float):
    """In single precision, an error is no larger than rounding x_t makes it: by 1/α, or by 1/σ."""
    x, noise = draw(2, 8, 3, 4).float()
    level = torch.tensor(log_snr)
    alpha, sigma = alpha_sigma(level)
    x_t, output = diffuse(x, noise, level), target(x, noise, level, prediction)
    assert_equal(to_data(output, x_t, level, prediction), x, float(2e-6 / alpha))
    assert_equal(to_noise(output, x_t, level, prediction), noise, float(2e-6 / sigma))
    if prediction == "v":
        assert_equal(to_data(output, x_t, level, prediction), x, 2e-6)
        assert_equal(to_noise(output, x_t, level, prediction), noise, 2e-6)


def test_v_is_what_its_definition_says():
    x, noise = draw(2, 2, 1, 3)
    level = torch.tensor([0.3, -2.0], dtype=torch.float64)
    alpha, sigma = (value.view(2, 1, 1) for value in alpha_sigma(level))
    assert_equal(target(x, noise, level, "v"), alpha * noise - sigma * x)


@given(shape=SHAPES)
def test_one_level_for_all_is_that_level_for_each(shape):
    x, noise = draw(2, 3, *shape)
    one = torch.tensor(0.7, dtype=torch.float64)
    assert torch.equal(diffuse(x, noise, one), diffuse(x, noise, one.expand(3)))
    # … and a single double on another device does not widen the images
    assert diffuse(x.float(), noise.float(), one).dtype == torch.float32


def test_an_unknown_prediction_or_weighting_is_answered(as_for_users: None):
    x, level = draw(1, 1, 2), torch.zeros(1, dtype=torch.float64)
    for convert in (target, to_data, to_noise):
        with pytest.raises(ValueError, match="prediction is 'eps': it must be one of epsilon, x0"):
            convert(x, x, level, "eps")
    with pytest.raises(ValueError, match=r"weighting is 'snr': .* simple, min_snr, sigmoid, elbo"):
        loss_weight(level, level, prediction="v", weighting="snr")
    with pytest.raises(ValueError, match="prediction is 'eps'"):
        loss_weight(level, level, prediction="eps", weighting="elbo")


# Losses.


def outputs_that_mean_the_same(x, noise, level) -> dict[str, Tensor]:
    """What networks of all three kinds put out if they take another image for x."""
    x_t = diffuse(x, noise, level)
    data = x + 0.1 * draw(*x.shape)
    mistaken_noise = to_noise(data, x_t, level, "x0")
    return {kind: target(data, mistaken_noise, level, kind) for kind in PREDICTIONS}


@pytest.mark.parametrize("weighting", ["min_snr", "sigmoid", "elbo"])
def test_a_weighting_is_the_same_for_all_predictions(weighting: str):
    x, noise = draw(2, 5, 2, 3)
    level, rate = log_snr_and_rate(cosine, torch.rand(5, dtype=torch.float64))
    losses = [
        diffusion_loss(output, x, noise, level, rate, prediction=kind, weighting=weighting)
        for kind, output in outputs_that_mean_the_same(x, noise, level).items()
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_simple_loss_is_the_mean_squared_error_of_the_target(prediction: str):
    x, noise, output = draw(3, 5, 2, 3)
    level, rate = log_snr_and_rate(linear, torch.rand(5, dtype=torch.float64))
    loss = diffusion_loss(output, x, noise, level, rate, prediction=prediction)
    goal = target(x, noise, level, prediction)
    for k in range(5):
        assert loss[k] == pytest.approx(float(torch.nn.functional.mse_loss(output[k], goal[k])))


def test_weights_of_the_squared_error_of_the_image():
    """As the papers state them: γ against SNR, and for the bound −SNR'(t)/2."""
    t = torch.rand(50, dtype=torch.float64)
    level, rate = log_snr_and_rate(cosine, t)
    snr = level.exp()
    t.requires_grad_()
    (slope,) = torch.autograd.grad(cosine(t).exp().sum(), t)

    def weight(weighting: str) -> Tensor:
        return loss_weight(level, rate, prediction="x0", weighting=weighting)

    torch.testing.assert_close(weight("min_snr"), snr.clamp(max=MIN_SNR_GAMMA))
    torch.testing.assert_close(weight("elbo"), -slope / 2)
    torch.testing.assert_close(weight("sigmoid"), -slope / 2 * (SIGMOID_BIAS - level).sigmoid())


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@every_schedule
def test_losses_and_their_gradients_are_finite_at_all_times(prediction, weighting, schedule):
    x, noise = draw(2, 11, 2, 3).float()
    output = draw(11, 2, 3).float().requires_grad_()
    level, rate = log_snr_and_rate(schedule, times(11, torch.float32))
    loss = diffusion_loss(output, x, noise, level, rate, prediction=prediction, weighting=weighting)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert loss.isfinite().all()
    assert (loss > 0).all()
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


@given(shape=SHAPES)
def test_one_image_does_not_matter_to_the_loss_of_another(shape):
    x, noise, output = draw(3, 3, *shape)
    level, rate = log_snr_and_rate(cosine, torch.rand(3, dtype=torch.float64))

    def loss(part: slice) -> Tensor:
        tensors = [tensor[part] for tensor in (output, x, noise, level, rate)]
        return diffusion_loss(*tensors, prediction="v", weighting="sigmoid")

    whole = loss(slice(None))
    for k in range(3):
        torch.testing.assert_close(loss(slice(k, k + 1)), whole[k : k + 1])


# One step of the chain.


@given(later=LOG_SNRS, distance=st.floats(0.01, 10))
def test_the_posterior_is_bayes(later: float, distance: float):
    """q(x_s | x_t, x) ∝ q(x_t | x_s) q(x_s | x), as a product of two Gaussians in x_s."""
    log_snr_t = torch.tensor(later, dtype=torch.float64)
    log_snr_s = log_snr_t + distance
    x_t, x = draw(2, 4, 3)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(log_snr_t), alpha_sigma(log_snr_s)
    kept = alpha_t / alpha_s  # x_t = kept x_s + noise of variance added
    added = sigma_t.square() - kept.square() * sigma_s.square()
    precision = kept.square() / added + 1 / sigma_s.square()
    expected = (kept * x_t / added + alpha_s * x / sigma_s.square()) / precision
    mean, variance = ancestral_posterior(x_t, x, log_snr_t, log_snr_s)
    torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance, 1 / precision, rtol=1e-6, atol=0)


def test_the_fraction_leads_from_the_lower_to_the_upper_variance():
    """β̃ and β as DDPM has them, from ᾱ; between them the logarithm is linear."""
    log_snr_t, log_snr_s = torch.tensor([[-1.0, 2.0], [0.5, 2.5]], dtype=torch.float64)
    bar_t, bar_s = log_snr_t.sigmoid(), log_snr_s.sigmoid()
    beta = (1 - bar_t / bar_s).view(2, 1)
    lower = (1 - bar_s).view(2, 1) / (1 - bar_t).view(2, 1) * beta
    x = draw(2, 3)

    def variance(fraction: Tensor | float) -> Tensor:
        return ancestral_posterior(x, x, log_snr_t, log_snr_s, fraction)[1]

    torch.testing.assert_close(variance(0.0), lower)
    torch.testing.assert_close(variance(1.0), beta)
    fraction = variance_fraction(draw(2, 3))
    logarithm = fraction * beta.log() + (1 - fraction) * lower.log()
    torch.testing.assert_close(variance(fraction), logarithm.exp())


def test_a_network_that_puts_out_nothing_is_half_way():
    assert variance_fraction(torch.tensor([[-1.0, 0.0, 1.0]])).tolist() == [[0, 0.5, 1]]


def test_at_time_zero_the_posterior_is_the_image():
    x_t, x = draw(2, 4, 3)
    mean, variance = ancestral_posterior(x_t, x, torch.tensor(-3.0), torch.tensor(torch.inf))
    assert_equal(mean, x)
    assert variance == 0


@given(earlier=LOG_SNRS, distance=st.floats(0.01, 10))
def test_diffusing_further_is_diffusing_at_once(earlier: float, distance: float):
    """Mean α_t x and variance σ_t², from two independent noises in place of one."""
    log_snr_s = torch.tensor(earlier, dtype=torch.float64)
    log_snr_t = log_snr_s - distance
    x, none, unit = draw(1, 2, 3), torch.zeros(1, 2, 3).double(), torch.ones(1, 2, 3).double()
    alpha, sigma = alpha_sigma(log_snr_t)

    def twice(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return diffuse_further(diffuse(x, first, log_snr_s), second, log_snr_s, log_snr_t)

    torch.testing.assert_close(twice(x, none, none), alpha * x)
    variance = twice(none, unit, none).square() + twice(none, none, unit).square()
    torch.testing.assert_close(variance, sigma.square().expand(1, 2, 3))
