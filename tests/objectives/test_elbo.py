"""The bound against torch.distributions, and on a model whose evidence is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions

from visarch.models.vae import GaussianPosterior
from visarch.objectives.elbo import (
    bits_per_dim,
    elbo,
    gaussian_log_likelihood,
    importance_weighted_bound,
)

SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)  # C, H, …


def assert_equal(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# The parts of the bound.


@given(shape=SHAPES, batch=st.integers(1, 3))
def test_the_likelihood_is_torchs(shape: tuple[int, ...], batch: int):
    x, mean = draw(2, batch, *shape)
    sigma = draw(batch, *(1,) * len(shape)).exp()
    expected = distributions.Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
    assert_equal(gaussian_log_likelihood(x, mean, sigma, len(shape)), expected)


@given(shape=SHAPES, samples=st.integers(1, 3), batch=st.integers(1, 3))
def test_the_likelihood_of_several_samples(shape: tuple[int, ...], samples: int, batch: int):
    """Axes in front of the image's are kept: K decodings of each image, at once."""
    x, mean = draw(batch, *shape), draw(samples, batch, *shape)
    sigma = draw(samples, batch, *(1,) * len(shape)).exp()
    together = gaussian_log_likelihood(x.expand_as(mean), mean, sigma, len(shape))
    assert together.shape == (samples, batch)
    for k in range(samples):
        assert_equal(together[k], gaussian_log_likelihood(x, mean[k], sigma[k], len(shape)))


def test_one_sigma_for_all_images():
    x, mean = draw(2, 5, 2, 3, 4)
    expected = gaussian_log_likelihood(x, mean, torch.full((5, 1, 1, 1), 0.3).double(), 3)
    for sigma in (torch.tensor(0.3).double(), torch.full((1, 1, 1, 1), 0.3).double()):
        assert_equal(gaussian_log_likelihood(x, mean, sigma, 3), expected)


def test_a_sigma_that_differs_within_an_image_is_answered():
    x, mean = draw(2, 5, 2, 3, 4)
    with pytest.raises(ValueError, match=r"\(5, 1, 3, 1\).*last 3 axes must have size 1"):
        gaussian_log_likelihood(x, mean, torch.ones(5, 1, 3, 1), 3)


@given(shape=SHAPES, batch=st.integers(1, 3))
def test_the_bound_is_likelihood_less_divergence(shape: tuple[int, ...], batch: int):
    x, mean = draw(2, batch, *shape)
    sigma, kl = draw(batch, *(1,) * len(shape)).exp(), draw(batch).exp()
    bound = elbo(x, mean, sigma, kl)
    expected = distributions.Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
    assert_equal(bound.reconstruction, expected)
    assert_equal(bound.kl, kl)
    assert_equal(bound.value, expected - kl)


def test_with_a_constant_sigma_it_is_algorithm_1_and_a_constant():
    """−ELBO less Algorithm 1's objective is D log σ + D/2 log 2π, whatever x, g and KL are."""
    sigma = torch.tensor(0.3, dtype=torch.float64).view(1, 1, 1, 1)
    x, mean = draw(2, 5, 2, 3, 4)
    kl = draw(5).exp()
    algorithm_1 = (x - mean).square().flatten(1).sum(1) / (2 * 0.3**2) + kl
    constant = -elbo(x, mean, sigma.expand(5, 1, 1, 1), kl).value - algorithm_1
    dims = 2 * 3 * 4
    expected = dims * math.log(0.3) + dims / 2 * math.log(2 * math.pi)
    assert_equal(constant, torch.full((5,), expected, dtype=torch.float64))


def test_the_best_sigma_is_the_root_mean_square_error():
    """D log σ belongs in the objective once σ is learned: without it σ would grow for ever."""
    x, mean = draw(2, 1, 3, 4, 4)
    best = (x - mean).square().mean().sqrt()
    sigma = best.detach().clone().requires_grad_()
    bound = elbo(x, mean, sigma.view(1, 1, 1, 1), draw(1).exp())
    (gradient,) = torch.autograd.grad(bound.value.sum(), sigma)
    assert_equal(gradient, torch.zeros_like(gradient))
    for other in (0.9, 1.1):
        worse = elbo(x, mean, (other * best).view(1, 1, 1, 1), bound.kl.detach())
        assert worse.value < bound.value


# A linear-Gaussian model: x = W z + b + σ η has the evidence N(x; b, W Wᵀ + σ² I).


class LinearGaussian:
    """Everything about it in closed form, for one-channel images of D pixels."""

    def __init__(self, dims: int = 5, latents: int = 3, sigma: float = 0.7) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(dims, latents, dtype=torch.float64, generator=generator)
        self.bias = torch.randn(dims, dtype=torch.float64, generator=generator)
        self.sigma = sigma
        covariance = self.weight @ self.weight.T + sigma**2 * torch.eye(dims, dtype=torch.float64)
        self.marginal = distributions.MultivariateNormal(self.bias, covariance)
        precision = torch.eye(latents, dtype=torch.float64) + (
            self.weight.T @ self.weight / sigma**2
        )
        self.posterior_covariance = torch.linalg.inv(precision)

    def posterior(self, x: Tensor) -> GaussianPosterior:
        """p(z | x), exactly."""
        mean = (x[:, 0] - self.bias) @ self.weight @ self.posterior_covariance / self.sigma**2
        factor = torch.linalg.cholesky(self.posterior_covariance)
        return GaussianPosterior(mean, factor.expand(len(x), -1, -1))

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = (z @ self.weight.T + self.bias).unsqueeze(-2)
        return mean, mean.new_full((*z.shape[:-1], 1, 1), self.sigma)

    def evidence(self, x: Tensor) -> Tensor:
        return self.marginal.log_prob(x[:, 0])

    def log_weights(self, x: Tensor, q: GaussianPosterior, count: int) -> Tensor:
        """log p(x | z) + log p(z) − log q(z | x) at ``count`` samples of q for each image."""
        z = q.sample(draw(count, *q.mean.shape))
        mean, sigma = self.decode(z)
        likelihood = gaussian_log_likelihood(x.expand_as(mean), mean, sigma, 2)
        prior = distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return likelihood + prior - q.log_prob(z)


@pytest.fixture
def model() -> LinearGaussian:
    return LinearGaussian()


@pytest.fixture
def x(model: LinearGaussian) -> Tensor:
    return model.marginal.sample((4,)).unsqueeze(1)


def of_another_width(q: GaussianPosterior) -> GaussianPosterior:
    """A posterior that is not exact: moved, diagonal, and of another width."""
    return GaussianPosterior(q.mean + 0.2, 1.3 * q.variance.sqrt())


def expected_elbo(model: LinearGaussian, x: Tensor, q: GaussianPosterior) -> Tensor:
    """The bound with the expectation over z taken in closed form."""
    mean, sigma = model.decode(q.mean)
    at_the_mean = elbo(x, mean, sigma, q.kl()).value
    spread = (model.weight.square() * q.variance.unsqueeze(1)).sum((1, 2))  # diagonal Σ
    return at_the_mean - 0.5 * spread / model.sigma**2


def test_at_the_exact_posterior_every_weight_is_the_evidence(model: LinearGaussian, x: Tensor):
    log_weights = model.log_weights(x, model.posterior(x), 7)
    assert_equal(log_weights, model.evidence(x).expand(7, -1))
    assert_equal(importance_weighted_bound(log_weights), model.evidence(x))


def test_the_elbo_averages_to_evidence_less_divergence_from_the_posterior(model, x):
    """log p(x) − ELBO = KL(q ‖ p(z | x)), for a q that is not the posterior."""
    exact = model.posterior(x)
    q = of_another_width(exact)
    gap = distributions.kl_divergence(
        distributions.MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.scale)),
        distributions.MultivariateNormal(exact.mean, scale_tril=exact.scale),
    )
    assert_equal(expected_elbo(model, x, q), model.evidence(x) - gap)

    count = 20_000
    z = q.sample(draw(count, *q.mean.shape))
    mean, sigma = model.decode(z)
    likelihood = gaussian_log_likelihood(x.expand_as(mean), mean, sigma, 2)
    error = likelihood.std(0) / math.sqrt(count)
    estimate = likelihood.mean(0) - q.kl()
    assert ((estimate - (model.evidence(x) - gap)).abs() < 4 * error).all()


def test_more_samples_bring_the_bound_from_the_elbo_towards_the_evidence(model, x):
    q = of_another_width(model.posterior(x))
    weights = model.log_weights(x, q, 32 * 2_000).unflatten(0, (2_000, 32))
    bounds = {k: weights[:, :k].transpose(0, 1) for k in (1, 2, 4, 8, 32)}
    means = {k: importance_weighted_bound(w).mean(0) for k, w in bounds.items()}
    ladder = torch.stack([means[k] for k in bounds])
    assert (ladder.diff(dim=0) > 0).all()
    evidence, lowest = model.evidence(x), expected_elbo(model, x, q)
    torch.testing.assert_close(ladder[0], lowest, rtol=0, atol=0.1)
    assert (ladder < evidence + 0.02).all()
    assert ((evidence - ladder[-1]) < 0.2 * (evidence - ladder[0])).all()


@given(samples=st.integers(1, 6), batch=st.integers(1, 3), shift=st.floats(-2000, 2000))
def test_the_weighted_bound_is_the_logarithm_of_the_mean_weight(samples, batch, shift: float):
    """… and does not overflow where the weights themselves would."""
    log_weights = draw(samples, batch)
    expected = log_weights.exp().mean(0).log() + shift
    torch.testing.assert_close(
        importance_weighted_bound(log_weights + shift), expected, rtol=0, atol=1e-9
    )


def test_the_weighted_bound_lies_between_the_mean_and_the_largest_weight():
    log_weights = 10 * draw(50, 6)
    bound = importance_weighted_bound(log_weights)
    assert (bound >= log_weights.mean(0)).all()
    assert (bound <= log_weights.amax(0)).all()
    one = draw(1, 6)
    assert_equal(importance_weighted_bound(one), one[0])


# Bits per dimension.


@pytest.mark.parametrize("levels", [2, 256, 65536])
@pytest.mark.parametrize("num_dims", [1, 784])
def test_a_uniform_density_takes_all_the_bits(levels: int, num_dims: int):
    """Density 1 on [0, 1]: every level is as probable, so that each costs log₂(levels)."""
    assert bits_per_dim(0.0, num_dims, levels) == pytest.approx(math.log2(levels))


def test_a_density_on_one_level_takes_none():
    """All mass in one cell of width 1/256 has the density 256 there: 784 log 256 nats."""
    assert bits_per_dim(784 * math.log(256), 784, 256) == pytest.approx(0)


def test_the_bits_of_a_discrete_distribution_are_its_entropy():
    """Probabilities p of 4 levels, dequantized: density 4p, and −Σ p log₂ p bits on average."""
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    average = float((p * (4 * p).log()).sum())
    assert bits_per_dim(average, 1, 4) == pytest.approx(1.75)


def test_without_levels_the_bits_are_those_of_the_density():
    assert bits_per_dim(-3 * math.log(2), 3, None) == pytest.approx(1)
