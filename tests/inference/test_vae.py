"""What a trained VAE is used for, as functions of a model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visarch import GaussianVAE, VAEConfig
from visarch.data import Split, to_unit
from visarch.inference.noise import evaluation_noise
from visarch.inference.vae import (
    decode,
    embed,
    information,
    interpolate,
    measure,
    reconstruct,
    sample,
)
from visarch.training.randomness import StepNoise

SHAPES = {"signals": (2, 12), "images": (3, 8, 6), "volumes": (1, 4, 5, 4)}
LATENTS = 3


def make_model(shape: tuple[int, ...], **settings: object) -> GaussianVAE:
    torch.manual_seed(1)
    config = VAEConfig(image_shape=shape, latent_dim=LATENTS, channels=4, depth=1, **settings)
    return GaussianVAE(config).eval()


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def model(request: pytest.FixtureRequest) -> GaussianVAE:
    return make_model(request.param)


def make_split(model: GaussianVAE, count: int = 7) -> Split:
    """8-bit samples of noise."""
    generator = torch.Generator().manual_seed(count)
    shape = (count, *model.config.image_shape)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return Split("noise", images, None, [f"noise[{number}]" for number in range(count)])


# Samples.


def test_a_sample_depends_on_its_number_alone(model: GaussianVAE):
    """To the last bit, whether it is drawn alone, among a few, or among more than one batch."""
    for noise in (False, True):
        many = sample(model, 70, 0, noise=noise)
        assert many.shape == (70, *model.config.image_shape)
        for count in (1, 3, 64, 65):
            assert torch.equal(sample(model, count, 0, noise=noise), many[:count])


def test_every_sample_is_another_one(model: GaussianVAE):
    assert len(sample(model, 70, 0).flatten(1).unique(dim=0)) == 70
    both = torch.cat([sample(model, 5, 0), sample(model, 5, 1)])
    assert len(both.flatten(1).unique(dim=0)) == 10


def test_samples_are_what_the_decoder_makes_of_the_prior():
    """Decoding backwards: with g the identity, samples are standard normal and unrelated."""
    model = make_model((1, LATENTS))
    model.decode = lambda z: (z.unsqueeze(1), z.new_full((len(z), 1, 1), 0.5))  # type: ignore[method-assign]
    z = sample(model, 4000, 0)[:, 0]
    torch.testing.assert_close(z.mean(0), torch.zeros(LATENTS), rtol=0, atol=4 / 4000**0.5)
    torch.testing.assert_close(z.T.cov(), torch.eye(LATENTS), rtol=0, atol=4 * (2 / 4000) ** 0.5)


def test_noise_has_the_standard_deviation_sigma():
    """(x̃ − g(z̃)) / σ(z̃) is standard normal in every pixel, for a σ that differs by image."""
    model = make_model((1, 8, 8), sigma="predicted")
    torch.nn.init.normal_(model.decoder.f_var.weight)
    decode, sigmas = model.decode, []

    def watch(z: Tensor) -> tuple[Tensor, Tensor]:
        mean, sigma = decode(z)
        sigmas.append(sigma)
        return mean, sigma

    model.decode = watch  # type: ignore[method-assign]
    means, noisy = (sample(model, 256, 3, noise=noise) for noise in (False, True))
    sigma, again = torch.cat(sigmas).flatten().chunk(2)
    assert torch.equal(sigma, again)
    assert sigma.max() > 2 * sigma.min()
    eta = (noisy - means).flatten(1) / sigma.unsqueeze(1)
    assert abs(float(eta.mean())) < 4 / eta.numel() ** 0.5
    assert abs(float(eta.var()) - 1) < 4 * (2 / eta.numel()) ** 0.5
    assert eta.std(1).min() > 0.6  # in every image, not only on average
    assert eta.std(1).max() < 1.4
    assert abs(float((eta[0] * eta[1]).mean())) < 4 / 64**0.5


# Reconstructions, interpolations and embeddings.


@settings(max_examples=5)
@given(count=st.integers(1, 300))
def test_reconstructions_are_of_the_posterior_mean(count: int):
    """… of every image, in order, however many there are."""
    model = make_model((1, 6))
    split = make_split(model, count)
    originals, reconstructions = reconstruct(model, split, 256)
    x = to_unit(split.images, 256)
    assert torch.equal(originals, x)
    with torch.no_grad():
        torch.testing.assert_close(reconstructions, model(x)[0])


def test_interpolation_is_straight_and_ends_at_the_reconstructions(model: GaussianVAE):
    ends = make_split(model, 2)
    path = interpolate(model, ends, 256, 5)
    _, reconstructions = reconstruct(model, ends, 256)
    torch.testing.assert_close(path[[0, -1]], reconstructions)
    with torch.no_grad():
        start, end = model.encode(to_unit(ends.images, 256)).mean
        quarter, _ = model.decode((0.75 * start + 0.25 * end).unsqueeze(0))
    torch.testing.assert_close(path[1:2], quarter)
    assert interpolate(model, ends, 256, 2).shape == (2, *model.config.image_shape)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_embeddings_are_mean_and_spread_of_what_the_posterior_draws(covariance: str):
    model = make_model((1, 6), covariance=covariance)
    split = make_split(model, 300)
    told = []
    means, deviations = embed(model, split, 256, progress=lambda *done: told.append(done))
    assert told == [(250, 300), (300, 300)]
    with torch.no_grad():
        posterior = model.encode(to_unit(split.images, 256))
        draws = posterior.sample(torch.randn(4000, 300, LATENTS))
    torch.testing.assert_close(means, posterior.mean)
    assert ((draws.mean(0) - means).abs() < 6 * deviations / 4000**0.5).all()
    torch.testing.assert_close(deviations, draws.std(0), rtol=0.08, atol=0)


# Measuring.


def test_the_same_noise_gives_the_same_numbers(model: GaussianVAE):
    split = make_split(model)
    first, again, other = (
        dict(measure(model, split, 256, evaluation_noise(model, "test", seed)))
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["ELBO"] != other["ELBO"]
    assert first != dict(measure(model, split, 256, evaluation_noise(model, "validation", 0)))


def test_all_images_are_measured():
    model = make_model((1, 6))
    split = make_split(model, 260)
    told = []
    measured = measure(
        model,
        split,
        256,
        evaluation_noise(model, "x", 0),
        importance_samples=2,
        progress=lambda *done: told.append(done),
    )
    assert measured.num_images == 260
    assert told == [(500, 780), (750, 780), (770, 780), (780, 780)]
    with torch.no_grad():  # KL depends on the dequantized image, but hardly
        kl = model.encode(to_unit(split.images, 256)).kl()
    torch.testing.assert_close(measured.kl, kl, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_many_samples_are_decoded_fast_and_the_bound_is_as_it_were_exact(covariance: str):
    model = make_model((1, 8, 6), covariance=covariance)
    split, noise = make_split(model, 40), evaluation_noise(model, "test", 0)
    fast = measure(model, split, 256, noise, importance_samples=20)
    model.optimize_for_inference = lambda: model  # type: ignore[method-assign]
    exact = measure(model, split, 256, noise, importance_samples=20)
    assert torch.equal(fast.bound, exact.bound)
    assert fast.importance_bound is not None
    assert exact.importance_bound is not None
    moved = (fast.importance_bound - exact.importance_bound).mean()
    assert moved.abs() < 0.01 * exact.standard_errors()["IW-20 bound"]


def test_dequantization_is_uniform_within_each_level():
    """What the encoder is given lies in [k/L, (k+1)/L), anywhere in it."""
    model = make_model((1, 6))
    split = make_split(model, 250)
    seen: list[Tensor] = []
    encode = model.encode
    model.encode = lambda x: seen.append(x) or encode(x)  # type: ignore[method-assign, func-returns-value]
    measure(model, split, 256, StepNoise(0, 0, 1))
    offset = torch.cat(seen) * 256 - split.images
    assert offset.min() >= -1e-4
    assert offset.max() <= 1 + 1e-4
    quantiles = offset.flatten().quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), rtol=0, atol=0.05)


def test_continuous_values_are_measured_as_they_are():
    model = make_model((1, 6))
    split = Split("x", torch.rand(5, 1, 6), None, list("abcde"))
    measured = measure(model, split, None, evaluation_noise(model, "x", 0))
    with torch.no_grad():
        torch.testing.assert_close(measured.kl, model.encode(split.images).kl())


# The latent dimensions.


def test_information_is_what_the_bound_pays(model: GaussianVAE):
    """Summed up, for a diagonal Σ, the KL of q(z | x) to the prior."""
    split = make_split(model)
    told = information(model, split, 256)
    assert told.shape == (LATENTS,)
    with torch.no_grad():
        kl = model.encode(to_unit(split.images, 256)).kl().mean()
    torch.testing.assert_close(told.sum(), kl)


def test_latents_decode_to_what_is_reconstructed(model: GaussianVAE):
    split = make_split(model)
    means, _ = embed(model, split, 256)
    torch.testing.assert_close(decode(model, means), reconstruct(model, split, 256)[1])
