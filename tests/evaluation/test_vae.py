"""Measuring a VAE, on models whose every number is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions

from visarch.cli.flags import flag_names
from visarch.cli.train import TrainVAE
from visarch.evaluation.vae import VAEMeasurement, collapse_warning, measure_vae
from visarch.models.vae import GaussianPosterior

DIMS, LATENTS, SIGMA = 5, 3, 0.7


class LinearGaussian:
    """x = W z + σ η, whose evidence is N(x; 0, W Wᵀ + σ² I), and whose encoder is exact.

    An encoder can be spoiled: moved, and with a diagonal covariance of another width.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.exact = exact
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(DIMS, LATENTS, dtype=torch.float64, generator=generator)
        noise = SIGMA**2 * torch.eye(DIMS, dtype=torch.float64)
        self.marginal = distributions.MultivariateNormal(
            torch.zeros(DIMS, dtype=torch.float64), self.weight @ self.weight.T + noise
        )
        precision = torch.eye(LATENTS, dtype=torch.float64) + (
            self.weight.T @ self.weight / SIGMA**2
        )
        self.covariance = torch.linalg.inv(precision)

    def encode(self, x: Tensor) -> GaussianPosterior:
        mean = x[:, 0] @ self.weight @ self.covariance / SIGMA**2
        if self.exact:
            factor = torch.linalg.cholesky(self.covariance)
            return GaussianPosterior(mean, factor.expand(len(x), -1, -1))
        return GaussianPosterior(
            mean + 0.2, 1.3 * self.covariance.diagonal().sqrt().expand_as(mean)
        )

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = (z @ self.weight.T).unsqueeze(1)
        return mean, mean.new_full((len(z), 1, 1), SIGMA)

    def measure(self, x: Tensor, count: int = 0, levels: int | None = None) -> VAEMeasurement:
        return measure_vae(
            self.encode,
            self.decode,
            batches(x, LATENTS),
            levels=levels,
            importance_samples=count,
        )


def batches(x: Tensor, latents: int) -> Iterator[tuple[Tensor, Callable[[int], Tensor]]]:
    """Images in unequal batches, each with noise of its own."""
    for batch, part in enumerate(x.split(7)):

        def draw(number: int, batch: int = batch, size: int = part.shape[0]) -> Tensor:
            generator = torch.Generator().manual_seed(10_000 * batch + number)
            return torch.randn(size, latents, dtype=torch.float64, generator=generator)

        yield part, draw


@pytest.fixture
def x() -> Tensor:
    return LinearGaussian().marginal.sample((40,)).unsqueeze(1)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 5])
def test_the_weighted_bound_with_the_exact_posterior_is_the_evidence(x: Tensor, count: int):
    model = LinearGaussian()
    measured = model.measure(x, count)
    assert measured.importance_bound is not None
    assert_equal(measured.importance_bound, model.marginal.log_prob(x[:, 0]))


def test_the_elbo_with_the_exact_posterior_estimates_the_evidence():
    """Its expectation is the evidence; over many images, what the one sample adds averages out."""
    model = LinearGaussian()
    x = model.marginal.sample((20_000,)).unsqueeze(1)
    gap = model.measure(x).bound - model.marginal.log_prob(x[:, 0])
    error = gap.std() / math.sqrt(len(gap))
    assert 0 < error < 0.05
    assert gap.mean().abs() < 4 * error


def test_bounds_of_an_inexact_posterior_are_in_order():
    """ELBO < weighted bound < evidence, each by more than chance explains."""
    model = LinearGaussian(exact=False)
    x = model.marginal.sample((4_000,)).unsqueeze(1)
    measured = model.measure(x, 8)
    assert measured.importance_bound is not None
    evidence = model.marginal.log_prob(x[:, 0])
    for above, below in (
        (evidence, measured.importance_bound),
        (measured.importance_bound, measured.bound),
    ):
        gap = above - below
        assert gap.mean() > 4 * gap.std() / math.sqrt(len(gap))


@pytest.mark.parametrize("exact", [True, False])
def test_the_parts_are_torchs(x: Tensor, exact: bool):
    """Reconstruction and KL of each image, from torch.distributions at the same sample."""
    model = LinearGaussian(exact=exact)
    measured = model.measure(x)
    q = model.encode(x)
    noise = torch.cat([draw(0) for _, draw in batches(x, LATENTS)])
    factor = q.scale if exact else torch.diag_embed(q.scale)
    posterior = distributions.MultivariateNormal(q.mean, scale_tril=factor)
    z = q.mean + (factor @ noise.unsqueeze(-1)).squeeze(-1)
    mean = (z @ model.weight.T).unsqueeze(1)

    likelihood = distributions.Normal(mean, SIGMA).log_prob(x).sum((1, 2))
    prior = distributions.MultivariateNormal(torch.zeros_like(q.mean), torch.eye(LATENTS).double())
    assert_equal(measured.reconstruction, likelihood)
    assert_equal(measured.kl, distributions.kl_divergence(posterior, prior))
    assert_equal(measured.bound, likelihood - distributions.kl_divergence(posterior, prior))
    assert_equal(measured.squared_error, (x - mean).square().mean((1, 2)))
    assert_equal(measured.sigma, torch.full((len(x),), SIGMA, dtype=torch.float64))
    marginals = distributions.Normal(q.mean, posterior.variance.sqrt())
    per_dimension = distributions.kl_divergence(marginals, distributions.Normal(0.0, 1.0))
    assert_equal(measured.kl_per_dimension, per_dimension.mean(0))
    if not exact:
        assert_equal(measured.kl_per_dimension.sum(), measured.kl.mean())


def test_what_is_told_are_the_means(x: Tensor):
    measured = LinearGaussian().measure(x, 2, levels=16)
    told = dict(measured)
    assert measured.importance_bound is not None
    assert list(told) == [
        *("bits/dim", "ELBO", "reconstruction", "KL", "rmse", "sigma", "active units"),
        *("IW-2 bound", "IW-2 bits/dim"),
    ]
    assert told["ELBO"] == pytest.approx(float(measured.bound.mean()))
    assert told["ELBO"] == pytest.approx(told["reconstruction"] - told["KL"])
    assert told["IW-2 bound"] == pytest.approx(float(measured.importance_bound.mean()))
    assert told["rmse"] ** 2 == pytest.approx(float(measured.squared_error.mean()))
    assert told["sigma"] == pytest.approx(SIGMA)
    assert told["bits/dim"] == pytest.approx(-told["ELBO"] / DIMS / math.log(2) + 4)
    assert told["IW-2 bits/dim"] == pytest.approx(-told["IW-2 bound"] / DIMS / math.log(2) + 4)
    continuous = dict(LinearGaussian().measure(x))
    assert told["bits/dim"] - continuous["bits/dim"] == pytest.approx(4)


def test_asking_for_more_leaves_the_rest_as_it_was(x: Tensor):
    without, with_bound = (dict(LinearGaussian().measure(x, count)) for count in (0, 3))
    assert without == {name: with_bound[name] for name in without}
    assert {name for name in with_bound if name not in without} == {"IW-3 bound", "IW-3 bits/dim"}


def test_standard_errors(x: Tensor):
    measured = LinearGaussian().measure(x, 2, levels=16)
    errors = measured.standard_errors()
    assert set(errors) < set(dict(measured))
    expected = float(measured.bound.std()) / math.sqrt(len(x))
    assert errors["ELBO"] == pytest.approx(expected)
    assert errors["bits/dim"] == pytest.approx(expected / DIMS / math.log(2))
    assert errors["sigma"] == pytest.approx(0)
    assert all(error > 0 for name, error in errors.items() if name not in ("sigma", "KL"))


def test_a_single_image_has_no_standard_error(x: Tensor):
    errors = LinearGaussian().measure(x[:1]).standard_errors()
    assert all(math.isnan(error) for error in errors.values())


def test_no_images():
    model = LinearGaussian()
    with pytest.raises(ValueError, match="no images"):
        measure_vae(model.encode, model.decode, [], levels=None)


@given(active=st.integers(0, 6), silent=st.integers(1, 4))
def test_active_units_are_those_whose_mean_varies(active: int, silent: int):
    """Means of standard deviation 0.2 (variance 0.04) are active, of 0.05 (0.0025) they are not."""
    latents = active + silent
    scale = torch.tensor([0.2] * active + [0.05] * silent, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(10)
    means = signs.unsqueeze(1) * scale + 3  # the offset is the same for all images

    measured = measure_vae(
        lambda x: GaussianPosterior(means[x[:, 0, 0].long()], torch.ones_like(means[: len(x)])),
        lambda z: (z.new_zeros(len(z), 1, 1), z.new_ones(len(z), 1, 1)),
        batches(torch.arange(20, dtype=torch.float64).view(-1, 1, 1), latents),
        levels=None,
    )
    assert measured.active_units == active
    torch.testing.assert_close(measured.mean_variance, scale.square())


@pytest.mark.parametrize(
    ("kl", "active", "latent_dim", "collapsed"),
    [
        (0.0, 0, 32, True),
        (0.9, 20, 32, True),
        (20.0, 0, 8, True),
        (20.0, 5, 128, True),
        (20.0, 6, 128, False),
        (20.0, 1, 8, False),
        (1.5, 2, 2, False),
    ],
)
def test_collapse(kl: float, active: int, latent_dim: int, collapsed: bool):
    assert (collapse_warning(kl, active, latent_dim) is not None) == collapsed


def test_the_alarm_names_flags_that_there_are():
    words = (collapse_warning(0.01, 0, 32) or "").replace("(", " ").split()
    flags = {word for word in words if word.startswith("--")}
    assert flags
    assert flags <= set(flag_names(TrainVAE))
