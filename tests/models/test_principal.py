"""Starting a VAE at probabilistic PCA, against PCA in NumPy and the evidence in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from visarch import GaussianVAE, VAEConfig
from visarch.models.principal import can_start_linear, principal_components, start_linear
from visarch.objectives.elbo import gaussian_log_likelihood

SHAPES = {
    "signals": ((2, 13), 3),
    "images": ((1, 6, 6), 2),
    "images that patches overhang": ((3, 5, 7), 2),
    "the lecture's patch of one": ((2, 4, 3), 1),
    "volumes": ((1, 3, 5, 4), 2),
}


def linear_vae(shape: tuple[int, ...], patch_size: int, **settings: object) -> GaussianVAE:
    """Without blocks, and with the channels beside the pixels' own silent, a VAE is linear."""
    config = VAEConfig(
        image_shape=shape, patch_size=patch_size, depth=0, channels=40, latent_dim=4, **settings
    )
    return GaussianVAE(config).double().eval()


def silence_other_channels(vae: GaussianVAE) -> None:
    config = vae.config
    numbers = config.image_shape[0] * config.patch_size**config.ndim
    with torch.no_grad():
        vae.encoder.f_mean.weight.view(-1, *config.grid_shape)[:, numbers:] = 0
        vae.encoder.f_var.weight.zero_()
        vae.decoder.f_mean.weight[numbers:] = 0


def images_of(shape: tuple[int, ...], number: int = 200) -> Tensor:
    """Images in [0, 1] whose pixels depend on one another."""
    size = math.prod(shape)
    mixed = torch.randn(number, size, dtype=torch.float64) @ torch.randn(size, size).double()
    return (0.5 + 0.1 * mixed / size**0.5).clamp(0, 1).view(number, *shape)


def pca(images: Tensor, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, W and σ² of probabilistic PCA, by NumPy's singular values (Tipping & Bishop 1999)."""
    x = images.flatten(1).numpy()
    mean = x.mean(0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    eigenvalues = np.zeros(x.shape[1])
    eigenvalues[: len(singular)] = singular**2 / len(x)
    noise = eigenvalues[number:].mean()
    return mean, rows[:number].T * np.sqrt(eigenvalues[:number] - noise), noise


@pytest.mark.parametrize(("shape", "patch_size"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("sigma", ["learned", "predicted"])
def test_the_linear_vae_has_the_evidence_of_probabilistic_pca(
    shape: tuple[int, ...], patch_size: int, covariance: str, sigma: str
):
    """log p(x | z) p(z) / q(z | x) is log p(x) for every z where q is the exact posterior."""
    images = images_of(shape)
    vae = linear_vae(shape, patch_size, covariance=covariance, sigma=sigma)
    start_linear(vae, images, 0.0)
    silence_other_channels(vae)

    posterior = vae.encode(images)
    z = posterior.sample()
    mean, std = vae.decode(z)
    prior = gaussian_log_likelihood(z, torch.zeros_like(z), z.new_ones(()), 1)
    likelihood = gaussian_log_likelihood(images, mean, std, images.ndim - 1)
    weights = likelihood + prior - posterior.log_prob(z)

    center, w, noise = pca(images, 4)
    covariance_of_x = torch.tensor(w @ w.T) + noise * torch.eye(math.prod(shape))
    evidence = MultivariateNormal(torch.tensor(center), covariance_of_x)
    expected = evidence.log_prob(images.flatten(1))
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-5)


def test_untrained_blocks_change_little():
    """With blocks and random channels beside it, the start is still near the linear one."""
    images = images_of((1, 12, 12), 400)
    vae = GaussianVAE(
        VAEConfig(image_shape=(1, 12, 12), patch_size=4, depth=2, channels=64, latent_dim=40)
    ).double()
    start_linear(vae, images, 0.0)
    mean, _, _ = vae(images)
    center, w, _ = pca(images, 40)
    error = (mean - images).square().mean()
    flat = images.flatten(1).numpy() - center
    basis = np.linalg.qr(w)[0]
    projected = torch.tensor(flat - flat @ basis @ basis.T).square().mean()
    assert error < images.var(0).mean() / 2
    assert error < 3 * projected


def test_a_constant_sigma_stays():
    vae = linear_vae((1, 6, 6), 2, sigma="constant", initial_sigma=0.07)
    start_linear(vae, images_of((1, 6, 6)), 0.0)
    assert float(vae.decode(torch.zeros(1, 4).double())[1]) == pytest.approx(0.07)


def test_more_components_than_directions():
    """Three images, each many times, span two directions; the other latents stay at the prior."""
    images = images_of((1, 6, 6), 3).repeat(8, 1, 1, 1)
    vae = linear_vae((1, 6, 6), 2, sigma="learned")
    start_linear(vae, images, 1e-6)
    silence_other_channels(vae)
    kl = vae.encode(images).kl_per_dimension().mean(0)
    assert (kl[:2] > 1).all()
    torch.testing.assert_close(kl[2:], torch.zeros(2).double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 30, 100])
def test_few_images_start_a_vae_that_fits_others_as_well(number: int):
    """Components for each image leave nothing of it, but a σ of nothing makes others impossible."""
    held_out = 500
    images = images_of((1, 6, 6), number + held_out)
    vae = GaussianVAE(
        VAEConfig(image_shape=(1, 6, 6), patch_size=2, depth=0, channels=40, latent_dim=30)
    ).double()
    start_linear(vae, images[:number], 1e-6)
    silence_other_channels(vae)
    posterior = vae.encode(images[number:])
    mean, sigma = vae.decode(posterior.sample())
    bound = gaussian_log_likelihood(images[number:], mean, sigma, 3) - posterior.kl()
    blunt = gaussian_log_likelihood(images[number:], torch.tensor(0.5), torch.tensor(0.3), 3)
    assert bound.mean() > blunt.mean()


def test_beyond_the_largest_covariance(monkeypatch):
    """The approximation for large images finds the same directions where they stand out."""
    x = torch.randn(300, 5).double() * torch.tensor([9, 7, 5, 3, 2]) @ torch.randn(5, 50).double()
    x = x + 0.01 * torch.randn_like(x)
    exact = principal_components(x, 5, 0.0)
    monkeypatch.setattr("visarch.models.principal._LARGEST_COVARIANCE", 10)
    approximate = principal_components(x, 5, 0.0)
    torch.testing.assert_close(approximate.eigenvalues, exact.eigenvalues, rtol=1e-6, atol=0)
    torch.testing.assert_close(approximate.noise, exact.noise, rtol=1e-3, atol=0)
    overlap = (approximate.eigenvectors.T @ exact.eigenvectors).abs()
    torch.testing.assert_close(overlap, torch.eye(5).double(), rtol=0, atol=1e-5)


def test_too_few_channels_are_refused():
    config = VAEConfig(image_shape=(3, 8, 8), patch_size=4, channels=47)
    assert not can_start_linear(config)
    with pytest.raises(ValueError, match=r"channels is 47.*48 numbers in a patch"):
        start_linear(GaussianVAE(config), torch.zeros(2, 3, 8, 8), 0.0)


def test_of_more_images_than_memory_holds_some_are_used(monkeypatch):
    x = torch.randn(400, 6) @ torch.randn(6, 6)
    monkeypatch.setattr("visarch.models.principal._MOST_NUMBERS", 600)
    found, expected = principal_components(x, 2, 0.0), principal_components(x[::4], 2, 0.0)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
