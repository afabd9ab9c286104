"""Measuring a diffusion model, on data whose best network and likelihood are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from visarch.evaluation import diffusion
from visarch.evaluation.diffusion import DiffusionMeasurement, Network, measure_diffusion
from visarch.objectives.diffusion import (
    SCHEDULES,
    Prediction,
    Schedule,
    alpha_sigma,
    cosine,
    linear,
    target,
)
from visarch.training.randomness import StepNoise

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "x0", "v")
DIMS = 4
UNIT = DIMS * math.log(2)  # what log p gains by going from −1 … 1 to the unit scale

every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)

Estimate = Callable[[Tensor, Tensor], Tensor]
"""x_t (b, …) and λ (b, 1, …) to x̂."""


class DoubleNoise(StepNoise):
    """As exact as the closed forms it is compared with."""

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).double()


class Gaussian:
    """x ~ N(m, S) over a row of four pixels; optimal is x̂ = m + α S (α² S + σ² I)⁻¹ (x_t − α m)."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        factor = 0.4 * torch.randn(DIMS, DIMS, dtype=torch.float64, generator=generator)
        self.mean = 0.3 * torch.randn(DIMS, dtype=torch.float64, generator=generator)
        self.covariance = factor @ factor.T + 0.01 * torch.eye(DIMS)
        self.eigenvalues, self.axes = torch.linalg.eigh(self.covariance)
        self.distribution = torch.distributions.MultivariateNormal(self.mean, self.covariance)

    def sample(self, count: int) -> Tensor:
        return self.distribution.sample((count,)).unsqueeze(1)

    def estimate(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr)
        gain = alpha * self.eigenvalues / (alpha**2 * self.eigenvalues + sigma**2)
        return self.mean + ((x_t - alpha * self.mean) @ self.axes * gain) @ self.axes.T

    def error(self, log_snr: Tensor) -> Tensor:
        """tr Cov(x | x_t): expected squared error of the optimal x̂."""
        return (1 / (1 / self.eigenvalues + log_snr.exp().unsqueeze(-1))).sum(-1)

    def expected(self, schedule: Schedule, num_steps: int, decoding: int) -> tuple[Tensor, ...]:
        """Prior, diffusion and reconstruction of the optimal network, over all steps."""
        log_snr = schedule(torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps)
        end = log_snr[-1].sigmoid()
        square = self.eigenvalues.sum() + self.mean.square().sum()
        prior = 0.5 * (end * square - DIMS * (end + (1 - end).log()))
        gain = log_snr[decoding - 1 : -1].exp() - log_snr[decoding:].exp()
        steps = 0.5 * gain * self.error(log_snr[decoding:])
        at = log_snr[decoding - 1]
        misfit = self.error(at) * at.exp() + DIMS * (math.log(2 * math.pi) - at)
        return prior, steps.sum(), UNIT - 0.5 * misfit


def network(
    estimate: Estimate, schedule: Schedule = cosine, prediction: Prediction = "epsilon"
) -> Network:
    """A network that predicts what it must for this x̂."""

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        log_snr = schedule(t)
        x = estimate(x_t, log_snr.view(-1, *(1,) * (x_t.ndim - 1)))
        alpha, sigma = (part.view(-1, *(1,) * (x.ndim - 1)) for part in alpha_sigma(log_snr))
        return target(x, (x_t - alpha * x) / sigma, log_snr, prediction)

    return predict


def measure(
    x: Tensor,
    predict: Network,
    schedule: Schedule = cosine,
    prediction: Prediction = "epsilon",
    *,
    levels: int | None = None,
    seed: int = 0,
    **settings: int | bool,
) -> DiffusionMeasurement:
    """In two unequal batches, each with noise of its own."""
    parts = x.split((len(x) * 3 + 4) // 5)
    batches = (
        (part, predict, DoubleNoise(seed, number, len(part))) for number, part in enumerate(parts)
    )
    return measure_diffusion(batches, schedule, prediction, levels=levels, **settings)  # type: ignore[arg-type]


def assert_within_chance(values: Tensor, expected: float, largest_error: float) -> None:
    """The mean is as expected, and the values pin it down."""
    error = float(values.std()) / math.sqrt(len(values))
    assert error < largest_error
    assert abs(float(values.mean()) - expected) < 4 * error + 1e-9


# Gaussian data and its best network


@every_schedule
def test_the_closed_form_nears_the_evidence_from_below(schedule: Schedule):
    """It is what the measurement is compared with below."""
    data = Gaussian()
    evidence = UNIT - float(data.distribution.entropy())
    gaps = []
    for num_steps in (10, 100, 1000, 10_000, 100_000):
        bounds = []
        for decoding in range(1, num_steps, 1 + num_steps // 200):
            prior, steps, likelihood = data.expected(schedule, num_steps, decoding)
            bounds.append(float(likelihood - steps - prior))
        assert max(bounds) < evidence
        gaps.append(evidence - max(bounds))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.02


@every_schedule
@every_prediction
@pytest.mark.parametrize("num_steps", [2, 5, 30, 1000])
def test_the_terms_of_the_best_network(schedule: Schedule, prediction: Prediction, num_steps: int):
    data = Gaussian()
    x = data.sample(3000)
    predict = network(data.estimate, schedule, prediction)
    measured = measure(x, predict, schedule, prediction, num_steps=num_steps)
    prior, steps, likelihood = data.expected(schedule, num_steps, measured.decoding_step)
    assert_within_chance(measured.prior, float(prior), 0.01)
    assert_within_chance(measured.diffusion, float(steps), 0.02 * float(steps) + 0.01)
    assert_within_chance(measured.reconstruction, float(likelihood), 0.05)


@every_schedule
def test_the_bound_of_the_best_network_nears_the_evidence(schedule: Schedule):
    data = Gaussian()
    x = data.sample(5000)
    evidence = data.distribution.log_prob(x[:, 0]) + UNIT
    predict = network(data.estimate, schedule)
    measured = measure(x, predict, schedule, num_steps=10_000, num_times=40)
    gap = evidence - measured.bound
    error = float(gap.std()) / math.sqrt(len(gap))
    assert error < 0.05
    assert -4 * error < gap.mean() < 0.05 + 4 * error


def test_fewer_steps_and_a_worse_network_bound_less():
    data = Gaussian()
    x = data.sample(4000)

    def bound(factor: float, num_steps: int) -> Tensor:
        predict = network(lambda x_t, log_snr: factor * data.estimate(x_t, log_snr))
        return measure(x, predict, num_steps=num_steps).bound

    for better, worse in (
        (bound(1, 1000), bound(1, 100)),
        (bound(1, 100), bound(1, 10)),
        (bound(1, 100), bound(0.9, 100)),
        (bound(0.9, 100), bound(0.7, 100)),
    ):
        gap = better - worse
        assert gap.mean() > 4 * gap.std() / math.sqrt(len(gap))


@pytest.mark.parametrize("num_steps", [4, 50])
def test_the_right_variance_makes_every_step_exact(num_steps: int):
    """For x ~ N(0, s² I) the reverse steps are Gaussian: their terms then add up to

        D/2 log((1/s² + SNR_j) / (1/s² + SNR_T)),

    whatever T is; the variance β̃ alone costs more.
    """
    variance = 0.3
    x = math.sqrt(variance) * torch.randn(8000, 1, DIMS, dtype=torch.float64)

    def estimate(x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(log_snr)
        return variance * alpha / (variance * alpha**2 + sigma**2) * x_t

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        log_t, log_s = cosine(t), cosine(t - 1 / num_steps)
        wider = torch.log((1 / variance + log_s.exp()) / (1 / variance + log_t.exp()))
        fraction = wider / torch.log(alpha_sigma(log_t)[1] ** 2 / alpha_sigma(log_s)[1] ** 2)
        mean = network(estimate)(x_t, t)
        return torch.cat([mean, (2 * fraction - 1).view(-1, 1, 1) + 0 * mean], 1)

    fixed = measure(x, network(estimate), num_steps=num_steps)
    learned = measure(x, predict, num_steps=num_steps, learned_variance=True)
    log_snr = cosine(torch.tensor([learned.decoding_step / num_steps, 1], dtype=torch.float64))
    start, end = 1 / variance + log_snr.exp()
    assert_within_chance(learned.diffusion, float(DIMS / 2 * torch.log(start / end)), 0.1)
    gain = learned.bound - fixed.bound
    assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))
    assert torch.equal(learned.prior, fixed.prior)


# The sum over the steps


class CountedNoise(StepNoise):
    """No noise at all, and times that are even over the images."""

    def normal(self, *shape: int) -> Tensor:
        return torch.zeros(self.batch_size, *shape, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        even = (torch.arange(self.batch_size, dtype=torch.float64) + 0.5) / self.batch_size
        return even.unsqueeze(1).expand(-1, *shape)


def without_noise(
    errors: Callable[[Tensor], Tensor], schedule: Schedule, count: int, **settings: int
):
    """Without noise ε̂ alone is the error: each step's term is known, ½ (e^Δλ − 1) ‖ε̂‖²."""
    x = torch.zeros(count, 1, DIMS, dtype=torch.float64)

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        return errors(t).view(-1, 1, 1).expand_as(x_t)

    batch = (x, predict, CountedNoise(0, 0, count))
    return measure_diffusion([batch], schedule, "epsilon", levels=None, **settings)


@every_schedule
@pytest.mark.parametrize("good_at_the_end", [True, False])
@pytest.mark.parametrize("num_times", [1, 3, 10])
def test_the_mean_over_drawn_steps_is_the_sum_over_all(
    schedule: Schedule, good_at_the_end: bool, num_times: int, monkeypatch: pytest.MonkeyPatch
):
    """Down to step 1, and to a later one."""
    num_steps = 8
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    widths = (-0.5 * schedule(times)).exp().tolist()
    monkeypatch.setattr(diffusion, "DECODING_WIDTHS", tuple(width - 1e-9 for width in widths[:4]))

    def errors(t: Tensor) -> Tensor:
        return t**6 if good_at_the_end else 1.5 - t

    measured = without_noise(errors, schedule, 20_000, num_steps=num_steps, num_times=num_times)
    assert (measured.decoding_step == 1) == good_at_the_end
    terms = 0.5 * DIMS * torch.expm1(-schedule(times).diff()) * errors(times[1:]).square()
    expected = float(terms[measured.decoding_step - 1 :].sum())
    assert float(measured.diffusion.mean()) == pytest.approx(expected, rel=1e-3)


def test_where_steps_cost_what_they_descend_every_image_has_the_sum(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(diffusion, "DECODING_WIDTHS", ())
    num_steps = 7
    lengths = -cosine(torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps).diff()

    def errors(t: Tensor) -> Tensor:
        step = (t * num_steps).round().long()
        return (lengths / torch.expm1(lengths)).sqrt()[(step - 2).clamp(min=0)]

    measured = without_noise(errors, cosine, 50, num_steps=num_steps, num_times=3)
    expected = torch.full((50,), float(lengths.sum()) * DIMS / 2, dtype=torch.float64)
    torch.testing.assert_close(measured.diffusion, expected)


def test_the_image_is_drawn_where_its_bound_is_best(monkeypatch: pytest.MonkeyPatch):
    data = Gaussian()
    x, predict = data.sample(500), network(lambda x_t, log_snr: 0.9 * x_t)
    best = measure(x, predict)
    bounds = {}
    for width in diffusion.DECODING_WIDTHS:
        monkeypatch.setattr(diffusion, "DECODING_WIDTHS", (width,))
        measured = measure(x, predict)
        bounds[measured.decoding_step] = float(measured.bound.mean())
    assert max(bounds, key=bounds.__getitem__) == best.decoding_step


# Levels


def levels_at(levels: int) -> Tensor:
    return -1 + (2 * torch.arange(levels, dtype=torch.float64) + 1) / levels


def uniform_levels(levels: int, count: int) -> Tensor:
    return levels_at(levels)[torch.randint(levels, (count, 1, DIMS))]


def knowing(levels: int) -> Estimate:
    """E[x | x_t] where x is one of the levels, each as likely."""

    def estimate(x_t: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = (part.unsqueeze(-1) for part in alpha_sigma(log_snr))
        distance = (x_t.unsqueeze(-1) - alpha * levels_at(levels)) / sigma
        return torch.softmax(-0.5 * distance.square(), -1) @ levels_at(levels)

    return estimate


def smooth(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """E[x | x_t] where x is uniform on −1 … 1, from truncated normal distributions."""
    alpha, sigma = alpha_sigma(log_snr)
    center, width = x_t / alpha, sigma / alpha
    low, high = (-1 - center) / width, (1 - center) / width
    normal = torch.distributions.Normal(0.0, 1.0)
    density = normal.log_prob(low).exp() - normal.log_prob(high).exp()
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    return torch.where(mass > 1e-9, center + width * density / mass.clamp(min=1e-9), 0).clamp(-1, 1)


@pytest.mark.parametrize("levels", [2, 8, 256])
def test_levels_drawn_at_random_cost_their_logarithm(levels: int):
    """To a network that knows them, in many steps."""
    x = uniform_levels(levels, 2000)
    measured = measure(x, network(knowing(levels)), levels=levels, num_steps=100_000)
    told, errors = dict(measured), measured.standard_errors()
    assert errors["bits/dim"] < 0.05
    assert abs(told["bits/dim"] - math.log2(levels)) < 0.01 + 4 * errors["bits/dim"]


@pytest.mark.parametrize("num_steps", [1000, 100_000])
def test_a_network_that_takes_levels_for_continuous_hardly_pays_for_it(num_steps: int):
    """The image is drawn where the noise is as wide as a level or wider, however fine the steps."""
    x = uniform_levels(256, 2000)
    measured = measure(x, network(smooth), levels=256, num_steps=num_steps, num_times=40)
    error = measured.standard_errors()["bits/dim"]
    assert error < 0.04
    assert -4 * error < dict(measured)["bits/dim"] - 8 < 0.05 + 4 * error
    width = math.tan(math.pi / 2 * measured.decoding_step / num_steps)
    assert width > 0.9 / 128


def test_a_uniform_density_costs_nothing():
    """On the unit scale it is 1, and the bound of its logarithm 0."""
    x = 2 * torch.rand(2000, 1, DIMS, dtype=torch.float64) - 1
    measured = measure(x, network(smooth), num_times=40)
    error = measured.standard_errors()["bits/dim"]
    assert error < 0.05
    assert abs(dict(measured)["bits/dim"]) < 0.03 + 4 * error


@every_prediction
def test_no_term_is_negative(prediction: Prediction):
    x = uniform_levels(16, 50)
    measured = measure(
        x, lambda x_t, t: 0.5 * x_t.sin(), prediction=prediction, levels=16, num_steps=20
    )
    for cost in (measured.prior, measured.diffusion, -measured.reconstruction):
        assert (cost > 0).all()


# What is told


@pytest.fixture
def measured() -> DiffusionMeasurement:
    data = Gaussian()
    return measure(data.sample(301), network(data.estimate))


def test_what_is_told_adds_up(measured: DiffusionMeasurement):
    told = dict(measured)
    terms = [f"{term} bits/dim" for term in ("prior", "diffusion", "reconstruction")]
    assert list(told) == ["bits/dim", *terms, "ELBO"]
    assert told["bits/dim"] == pytest.approx(sum(told[term] for term in terms))
    assert told["bits/dim"] == pytest.approx(-told["ELBO"] / UNIT)
    assert told["ELBO"] == pytest.approx(float(measured.bound.mean()))
    assert told["prior bits/dim"] == pytest.approx(float(measured.prior.mean()) / UNIT)
    assert measured.num_images == 301
    assert measured.num_dims == DIMS


def test_standard_errors(measured: DiffusionMeasurement):
    errors = measured.standard_errors()
    assert set(errors) == set(dict(measured))
    expected = float(measured.bound.std()) / math.sqrt(301)
    assert errors["ELBO"] == pytest.approx(expected)
    assert errors["bits/dim"] == pytest.approx(expected / UNIT)
    spread = float(measured.diffusion.std()) / math.sqrt(301)
    assert errors["diffusion bits/dim"] == pytest.approx(spread / UNIT)


def test_standard_errors_are_how_far_other_images_and_noise_lead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diffusion, "DECODING_WIDTHS", ())  # one and the same split in two terms
    data = Gaussian()
    measurements = [
        measure(data.sample(40), network(data.estimate), seed=seed, num_steps=50, num_times=5)
        for seed in range(100)
    ]
    for name in dict(measurements[0]):
        values = torch.tensor([dict(measured)[name] for measured in measurements])
        told = torch.tensor([measured.standard_errors()[name] for measured in measurements])
        assert 0.75 < told.square().mean().sqrt() / values.std() < 1.3, name


def test_a_single_image_has_no_standard_error():
    data = Gaussian()
    errors = measure(data.sample(1), network(data.estimate)).standard_errors()
    assert all(math.isnan(error) for error in errors.values())


def test_the_noise_decides(measured: DiffusionMeasurement):
    data = Gaussian()
    x, predict = data.sample(30), network(data.estimate)
    assert dict(measure(x, predict)) == dict(measure(x, predict))
    assert dict(measure(x, predict)) != dict(measure(x, predict, seed=1))


def test_single_precision_is_enough():
    data = Gaussian()
    x = data.sample(200)
    predict = network(data.estimate)

    def single(x_t: Tensor, t: Tensor) -> Tensor:
        assert x_t.dtype == t.dtype == torch.float32
        return predict(x_t.double(), t.double()).float()

    exact, rounded = measure(x, predict), measure(x.float(), single)
    for name, value in rounded:
        assert value == pytest.approx(dict(exact)[name], abs=2e-4)


# Bands of noise


@every_prediction
def test_errors_in_bands_are_those_of_the_best_network(prediction: Prediction):
    data = Gaussian()
    predict = network(data.estimate, prediction=prediction)
    x = data.sample(2000)
    measured = measure(x, predict, prediction=prediction, num_steps=20_000, num_times=10)
    bands = measured.bands(6)
    assert sum(band.num_denoised for band in bands) == 2000 * 10
    assert bands[0].low == pytest.approx(float(cosine(torch.ones(()))))
    assert bands[-1].high == pytest.approx(float(cosine(torch.tensor(1 / 20_000))))
    for band, following in pairwise(bands):
        assert band.high == following.low
    for band in bands:
        log_snr = torch.linspace(band.low, band.high, 1000, dtype=torch.float64)
        error = data.error(log_snr) / DIMS
        expected = {
            "epsilon": error * log_snr.exp(),
            "x0": error,
            "v": error * (1 + log_snr.exp()),
        }
        for name, values in expected.items():
            mean, spread = band.error[name], band.standard_error[name]  # type: ignore[index]
            assert 0 < spread < 0.05 * mean
            assert abs(mean - float(values.mean())) < 4 * spread + 0.05 * mean


def test_the_error_of_a_band_counts_images_and_not_times():
    """All times of an image may err together: ten times say no more than one."""
    data = Gaussian()
    x = data.sample(400)
    times = torch.rand(400, 1, 1, dtype=torch.float64)  # a network that is worse for some images

    def predict(num_times: int) -> DiffusionMeasurement:
        batch = (x, lambda x_t, t: x_t + 10 * times, DoubleNoise(0, 0, 400))
        return measure_diffusion(
            [batch], cosine, "epsilon", levels=None, num_steps=100, num_times=num_times
        )

    (few,), (many,) = predict(2).bands(1), predict(20).bands(1)
    assert many.num_denoised == 10 * few.num_denoised
    ratio = many.standard_error["epsilon"] / few.standard_error["epsilon"]
    assert 0.8 < ratio < 1.05


def test_a_band_without_images():
    data = Gaussian()
    bands = measure(data.sample(1), network(data.estimate), num_times=1).bands(10)
    empty = [band for band in bands if band.num_denoised == 0]
    assert len(empty) == 9
    assert all(math.isnan(value) for band in empty for value in band.error.values())


# Batches


def test_each_batch_has_its_own_network():
    """As conditional models do: here each network knows the batch's only image."""
    images = uniform_levels(8, 3)

    def batches() -> Iterator[tuple[Tensor, Network, StepNoise]]:
        for number, x in enumerate(images.split(1)):
            knows = network(lambda x_t, log_snr, x=x: x.expand_as(x_t), linear)
            yield x, knows, DoubleNoise(0, number, 1)

    measured = measure_diffusion(batches(), linear, "epsilon", levels=8, num_steps=50)
    knows_nothing = measure(images, network(lambda x_t, _: 0 * x_t), levels=8)
    assert dict(measured)["diffusion bits/dim"] < 0.1 < dict(knows_nothing)["diffusion bits/dim"]


def test_what_cannot_be_measured():
    with pytest.raises(ValueError, match="no images"):
        measure_diffusion([], cosine, "v", levels=None)
    x = Gaussian().sample(2)
    with pytest.raises(ValueError, match="num_steps is 1 and num_times is 20"):
        measure(x, lambda x_t, t: x_t, num_steps=1)
    with pytest.raises(ValueError, match="num_times is 0"):
        measure(x, lambda x_t, t: x_t, num_times=0)
