"""The oracle's densities against torch.distributions, and its solved model against itself."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from visarch.reference import vae as reference


@pytest.fixture
def gaussian():
    rng = np.random.default_rng(0)
    mean, root = rng.standard_normal(3), np.tril(rng.standard_normal((3, 3)))
    return mean, root @ root.T + np.eye(3)


@pytest.fixture
def model():
    rng = np.random.default_rng(1)
    return reference.LinearGaussian(rng.standard_normal((4, 2)), rng.standard_normal(4), 0.7)


def test_densities(gaussian):
    mean, covariance = gaussian
    x = np.array([0.3, -1.0, 2.0])
    theirs = MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    assert reference.log_normal(x, mean, covariance) == pytest.approx(
        theirs.log_prob(torch.from_numpy(x)).item(), abs=1e-12
    )
    pixels = Normal(torch.from_numpy(mean), 0.2).log_prob(torch.from_numpy(x)).sum().item()
    assert reference.log_likelihood(x, mean, 0.2) == pytest.approx(pixels, abs=1e-11)


def test_divergences(gaussian):
    mean, covariance = gaussian
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    full = MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
    assert reference.kl_full(mean, covariance) == pytest.approx(
        kl_divergence(full, standard).item(), abs=1e-12
    )
    assert reference.kl_normal(mean, covariance, mean + 1, 2 * covariance) == pytest.approx(
        kl_divergence(
            full, MultivariateNormal(torch.from_numpy(mean + 1), torch.from_numpy(2 * covariance))
        ).item(),
        abs=1e-12,
    )
    deviation = np.sqrt(np.diag(covariance))
    assert reference.kl_diagonal(mean, deviation) == pytest.approx(
        reference.kl_full(mean, np.diag(deviation**2)), abs=1e-12
    )
    assert reference.kl_diagonal(np.zeros(3), np.ones(3)) == 0


def test_the_solved_model_obeys_bayes(model):
    x, z = np.array([1.0, -0.5, 0.2, 2.0]), np.array([0.4, -1.2])
    mean, covariance = model.posterior(x)
    prior = reference.log_normal(z, np.zeros(2), np.eye(2))
    likelihood = reference.log_likelihood(x, model.decode(z), model.sigma)
    posterior = reference.log_normal(z, mean, covariance)
    assert model.evidence(x) == pytest.approx(prior + likelihood - posterior, abs=1e-11)


def test_the_expected_likelihood_is_the_mean_over_samples(model):
    rng = np.random.default_rng(0)
    x, mean, covariance = np.ones(4), np.array([0.1, 0.2]), np.array([[0.5, 0.2], [0.2, 0.3]])
    samples = rng.multivariate_normal(mean, covariance, size=20_000)
    values = np.array([reference.log_likelihood(x, model.decode(z), 0.7) for z in samples])
    error = abs(values.mean() - model.expected_log_likelihood(x, mean, covariance))
    assert error < 4 * values.std() / np.sqrt(len(values))


def test_bounds():
    values = np.array([-3.0, -1.0])
    assert reference.elbo(values, 0.5) == -2.5
    assert reference.iwae(values) == pytest.approx(np.log(np.mean(np.exp(values))))
    assert reference.iwae(np.array([-1e4, -1e4])) == pytest.approx(-1e4)
    # A model that knows nothing of 8-bit values, uniform on [0, 1], takes 8 bits for each.
    assert reference.bits_per_dim(0.0, 10, 256) == 8
    x, means = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    assert reference.algorithm_one(x, means, 2.0, np.array([0.25, 0.75])) == 2.0
