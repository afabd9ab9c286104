"""The oracle's densities against torch.distributions, and its solved model against itself."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn import functional

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


def test_bounds():
    values = np.array([-3.0, -1.0])
    assert reference.iwae(values) == pytest.approx(np.log(np.mean(np.exp(values))))
    assert reference.iwae(np.array([-1e4, -1e4])) == pytest.approx(-1e4)
    # A model that knows nothing of 8-bit values, uniform on [0, 1], takes 8 bits for each.
    assert reference.bits_per_dim(0.0, 10, 256) == 8
    x, means = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    assert reference.algorithm_one(x, means, 2.0, np.array([0.25, 0.75])) == 2.0


@pytest.mark.parametrize("patch_size", [1, 2])
def test_coders_without_blocks(patch_size):
    rng = np.random.default_rng(0)
    p, image_shape, grid = patch_size, (2, 3, 4), (3, *((3, 4) if patch_size == 1 else (2, 2)))
    num_grid = int(np.prod(grid))
    x, z = rng.standard_normal((2, *image_shape)), rng.standard_normal((2, 2))

    def draw(**shapes):
        weights = {f"{name}.weight": rng.standard_normal(shape) for name, shape in shapes.items()}
        outputs = {name: shape[0] for name, shape in shapes.items()}
        outputs |= {"f_mean": 2}  # a transposed convolution has its outputs second
        return weights | {
            f"{name}.bias": rng.standard_normal(size) for name, size in outputs.items()
        }

    def affine(values, weights, name):
        return (
            values.reshape(len(values), -1) @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        )

    encoder = draw(f_in=(3, 2, p, p), f_mean=(2, num_grid), f_var=(3, num_grid))
    padded = torch.zeros(2, 2, grid[1] * p, grid[2] * p).double()
    padded[:, :, :3, :4] = torch.from_numpy(x)
    inner = functional.conv2d(
        padded,
        *(torch.from_numpy(encoder[f"f_in.{name}"]) for name in ("weight", "bias")),
        stride=p,
    ).numpy()
    mean, scale = reference.encode(x, encoder, full=True, patch_size=p)
    np.testing.assert_allclose(mean, affine(inner, encoder, "f_mean"), rtol=0, atol=1e-11)
    for factor, (a, b, c) in zip(scale, affine(inner, encoder, "f_var"), strict=True):
        np.testing.assert_allclose(factor, [[np.exp(a), 0], [b, np.exp(c)]], rtol=1e-11)

    decoder = draw(f_in=(num_grid, 2), f_mean=(3, 2, p, p), f_var=(1, num_grid))
    inner = affine(z, decoder, "f_in")
    images = functional.conv_transpose2d(
        torch.from_numpy(inner.reshape(2, *grid)),
        *(torch.from_numpy(decoder[f"f_mean.{name}"]) for name in ("weight", "bias")),
        stride=p,
    )
    mean, sigma = reference.decode(z, decoder, image_shape=image_shape, patch_size=p)
    np.testing.assert_allclose(mean, images[:, :, :3, :4], rtol=0, atol=1e-11)
    np.testing.assert_allclose(sigma, np.exp(affine(inner, decoder, "f_var"))[:, 0], rtol=1e-11)
