"""Claims about the Gaussian VAE, its divergences, its bounds and its data (lecture)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from visarch.data.values import dequantize, to_uint8, to_unit
from visarch.models.vae import GaussianPosterior, GaussianVAE, VAEConfig
from visarch.objectives.elbo import (
    bits_per_dim,
    elbo,
    gaussian_log_likelihood,
    importance_weighted_bound,
)
from visarch.reference import vae as reference
from visarch.verify.claim import (
    EXACT,
    STATISTICAL,
    Array,
    Draw,
    Errors,
    cast,
    claim,
    errors,
    standard_errors,
    tensor,
    weights,
    wrong,
)


def draw_vae(draw: Draw) -> GaussianVAE:
    """A small VAE of any form: each kind of block, covariance and σ, patches of 1 to 3 pixels."""
    config = VAEConfig(
        image_shape=(draw.integer(1, 2), *draw.sizes(2, 5 if draw.ndim < 3 else 3)),
        latent_dim=draw.integer(1, 3),
        channels=draw.integer(1, 3),
        block=draw.choice(["residual", "bottleneck"]),
        inner_channels=2,
        kernel_size=draw.integer(1, 3),
        depth=draw.integer(0, 2),
        patch_size=draw.integer(1, 3),
        covariance=draw.choice(["diagonal", "full"]),
        sigma=draw.choice(["constant", "learned", "predicted"]),
    )
    return draw.fill(GaussianVAE(config)).eval()


def draw_posterior(draw: Draw, full: bool) -> tuple[Array, Array, Array]:
    """Mean (Z), Σ^{1/2} ((Z) or a Cholesky factor) and Σ of a Gaussian."""
    size = draw.integer(1, 5)
    mean, deviation = 2 * draw.array(size), np.exp(0.5 * draw.array(size))
    if not full:
        return mean, deviation, np.diag(deviation**2)
    factor = np.tril(0.5 * draw.array(size, size), -1) + np.diag(deviation)
    return mean, factor, factor @ factor.T


def reference_posterior(model: GaussianVAE, x: Array) -> tuple[Array, Array]:
    """The literal encoder's means and Σ^{1/2} of a batch."""
    return reference.encode(
        x,
        weights(model.encoder),
        full=model.config.covariance == "full",
        patch_size=model.config.patch_size,
    )


def posterior(mean: Array, scale: Array, dtype: torch.dtype = torch.float64) -> GaussianPosterior:
    """Our posterior of a batch of one image."""
    return GaussianPosterior(tensor(mean, dtype)[None], tensor(scale, dtype)[None])


@claim("encoder: f_mean∘h∘f_in and f_var∘h∘f_in", "lecture, Encoder")
def encoder_is_its_composition(draw: Draw) -> Errors:
    model = draw_vae(draw)
    x = draw.array(2, *model.config.image_shape)
    mean, scale = reference_posterior(model, x)

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        q = cast(model, dtype).encode(tensor(x, dtype))
        return {"mean": q.mean, "scale": q.scale}

    return errors(ours, {"mean": mean, "scale": scale})


@claim("decoder: f_mean∘h∘f_in and σ = f_var∘h∘f_in or constant", "lecture, Decoder")
def decoder_is_its_composition(draw: Draw) -> Errors:
    model = draw_vae(draw)
    z = draw.array(2, model.config.latent_dim)
    mean, sigma = reference.decode(
        z,
        weights(model.decoder),
        image_shape=tuple(model.config.image_shape),
        patch_size=model.config.patch_size,
    )

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        centre, spread = cast(model, dtype).decode(tensor(z, dtype))
        return {"mean": centre, "sigma": spread.flatten()}

    return errors(ours, {"mean": mean, "sigma": sigma})


@claim(
    "full Σ^{1/2} is lower triangular, its diagonal positive",
    "lecture (decision 11)",
    measure=EXACT,
)
def full_factor_is_cholesky(draw: Draw) -> Errors:
    shape = (1, *draw.sizes(2, 4))
    config = VAEConfig(
        image_shape=shape, latent_dim=4, channels=2, depth=1, patch_size=2, covariance="full"
    )
    q = draw.fill(GaussianVAE(config)).eval().encode(tensor(draw.array(3, *shape)))
    return wrong(
        torch.equal(q.scale, q.scale.tril()),
        bool((q.scale.diagonal(dim1=1, dim2=2) > 0).all()),
        bool(q.kl().isfinite().all()),
    )


@claim("posterior samples are f(x) + Σ^{1/2} ε, with that mean and Σ", "lecture, Algorithm 1")
def samples_are_reparametrized(draw: Draw) -> Errors:
    mean, scale, covariance = draw_posterior(draw, full=draw.choice([True, False]))
    points = sigma_points(mean.size)  # as many ε, with mean exactly 0 and covariance exactly I

    def moments(dtype: torch.dtype) -> dict[str, Tensor]:
        z = posterior(mean, scale, dtype).sample(tensor(points, dtype)[:, None])[:, 0]
        offset = z - z.mean(0)
        return {"mean": z.mean(0), "covariance": offset.T @ offset / len(z)}

    return errors(moments, {"mean": mean, "covariance": covariance})


def kl_claim(draw: Draw, full: bool) -> Errors:
    """Ours against the reference's formula and torch.distributions, in one number."""
    mean, scale, covariance = draw_posterior(draw, full)
    standard = MultivariateNormal(torch.zeros(mean.size).double(), torch.eye(mean.size).double())
    theirs = kl_divergence(MultivariateNormal(tensor(mean), tensor(covariance)), standard).item()
    formula = reference.kl_full(mean, covariance) if full else reference.kl_diagonal(mean, scale)

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        kl = posterior(mean, scale, dtype).kl()
        return {"formula": kl, "torch.distributions": kl}

    return errors(ours, {"formula": [formula], "torch.distributions": [theirs]})


@claim("KL, diagonal: ½ Σ (s² + μ² − 1 − log s²)", "lecture, Algorithm 1")
def kl_diagonal_is_its_formula(draw: Draw) -> Errors:
    return kl_claim(draw, full=False)


@claim("KL, full: ½ (tr Σ + ‖μ‖² − Z − log det Σ)", "lecture, Algorithm 1")
def kl_full_is_its_formula(draw: Draw) -> Errors:
    return kl_claim(draw, full=True)


def monte_carlo_claim(draw: Draw, full: bool) -> Errors:
    """The mean of log q(z) − log r(z) over samples z ~ q, against the closed form."""
    mean, scale, covariance = draw_posterior(draw, full)
    q = posterior(mean, scale)
    z = q.sample(tensor(draw.array(4000, 1, mean.size)))[:, 0]
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    log_q = MultivariateNormal(tensor(mean), tensor(covariance)).log_prob(z)
    return standard_errors((log_q - log_prior).numpy(), q.kl().item())


@claim(
    "KL, diagonal, is the Monte Carlo mean of log q − log r",
    "lecture, Algorithm 1",
    measure=STATISTICAL,
)
def kl_diagonal_is_an_expectation(draw: Draw) -> Errors:
    return monte_carlo_claim(draw, full=False)


@claim(
    "KL, full, is the Monte Carlo mean of log q − log r",
    "lecture, Algorithm 1",
    measure=STATISTICAL,
)
def kl_full_is_an_expectation(draw: Draw) -> Errors:
    return monte_carlo_claim(draw, full=True)


@claim("KL of each dimension's marginal; they sum to the KL if diagonal", "lecture, Algorithm 1")
def kl_per_dimension_is_of_marginals(draw: Draw) -> Errors:
    full = draw.choice([True, False])
    mean, scale, covariance = draw_posterior(draw, full)
    deviations = np.sqrt(np.diag(covariance))
    marginals = [
        reference.kl_diagonal(mean[i : i + 1], deviations[i : i + 1]) for i in range(mean.size)
    ]
    total = np.sum(marginals) if full else reference.kl_diagonal(mean, scale)

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        q = posterior(mean, scale, dtype)
        return {"each": q.kl_per_dimension()[0], "sum": q.kl_per_dimension().sum()}

    return errors(ours, {"each": marginals, "sum": total})


@claim("log q(z|x), diagonal and full, constant included", "lecture, The Gaussian VAE")
def posterior_density_is_normal(draw: Draw) -> Errors:
    mean, scale, covariance = draw_posterior(draw, full=draw.choice([True, False]))
    z = draw.array(mean.size)
    theirs = MultivariateNormal(tensor(mean), tensor(covariance)).log_prob(tensor(z)).item()

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        value = posterior(mean, scale, dtype).log_prob(tensor(z, dtype)[None])
        return {"formula": value, "torch.distributions": value}

    formula = reference.log_normal(z, mean, covariance)
    return errors(ours, {"formula": [formula], "torch.distributions": [theirs]})


@claim("log p(x|z) with D log σ and D/2 log 2π", "lecture, The Gaussian VAE (decision 12)")
def likelihood_is_normal(draw: Draw) -> Errors:
    x, mean = draw.array(1, 2, *draw.sizes(1, 4)), draw.array(1, 2, *(1,) * draw.ndim)
    sigma = np.exp(0.5 * draw.array(1, *(1,) * (draw.ndim + 1)))
    mean = np.broadcast_to(mean, x.shape)
    theirs = Normal(tensor(mean), tensor(sigma)).log_prob(tensor(x)).sum().item()
    formula = reference.log_likelihood(x, mean, sigma.item())

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        image, centre, spread = (tensor(each, dtype) for each in (x, mean, sigma))
        value = gaussian_log_likelihood(image, centre, spread, draw.ndim + 1)
        return {"formula": value, "torch.distributions": value}

    return errors(ours, {"formula": [formula], "torch.distributions": [theirs]})


@claim("Algorithm 1's objective is −ELBO less D log σ + D/2 log 2π", "lecture (decision 12)")
def algorithm_one_is_the_elbo(draw: Draw) -> Errors:
    shape = (draw.integer(1, 4), 2, *draw.sizes(1, 4))
    x, mean, kl = draw.array(*shape), draw.array(*shape), np.abs(draw.array(shape[0]))
    sigma = float(np.exp(0.5 * draw.array()))
    constant = x.size * (np.log(sigma) + 0.5 * np.log(2 * np.pi))

    def objective(dtype: torch.dtype) -> float:
        spread = tensor(np.full((shape[0], *(1,) * (x.ndim - 1)), sigma), dtype)
        bound = elbo(tensor(x, dtype), tensor(mean, dtype), spread, tensor(kl, dtype))
        return -float(bound.value.sum()) - constant

    return errors(objective, reference.algorithm_one(x, mean, sigma, kl))


def sigma_points(size: int) -> Array:
    """2Z values of ε whose mean is 0 and whose covariance is I, exactly: ±√Z e_i.

    Means over them of anything quadratic in ε are expectations under N(0, I), without noise.
    """
    return np.sqrt(size) * np.concatenate([np.eye(size), -np.eye(size)])


def draw_linear_vae(draw: Draw) -> tuple[GaussianVAE, reference.LinearGaussian, Array]:
    """A VAE without convolutional blocks, whose decoder is thus linear, its solution, an image."""
    shape = (draw.integer(1, 2), *draw.sizes(1, 3 if draw.ndim < 3 else 2))
    config = VAEConfig(
        image_shape=shape,
        latent_dim=draw.integer(1, 3),
        channels=int(np.prod(shape)),
        depth=0,
        patch_size=1,
        covariance=draw.choice(["diagonal", "full"]),
        sigma=draw.choice(["constant", "learned"]),
        initial_sigma=0.5 + draw.rng.random(),
    )
    model = draw.fill(GaussianVAE(config)).eval()
    model.encoder.f_var.weight.mul_(0.3)  # a Σ of the prior's order of magnitude
    latents = np.concatenate([np.zeros((1, config.latent_dim)), np.eye(config.latent_dim)])
    images, sigmas = reference.decode(latents, weights(model.decoder), image_shape=shape)
    flat = images.reshape(len(images), -1)
    slope = (flat[1:] - flat[0]).T
    return (
        model,
        reference.LinearGaussian(slope, flat[0], float(sigmas[0])),
        draw.array(1, *shape),
    )


def make_exact(model: GaussianVAE, solution: reference.LinearGaussian) -> None:
    """Give the encoder, linear as well, the weights that make q(z|x) the posterior p(z|x)."""
    size, channels = model.config.latent_dim, model.config.image_shape[0]
    offset, covariance = solution.posterior(np.zeros(solution.offset.size))
    slope = covariance @ solution.slope.T / solution.sigma**2
    factor = np.linalg.cholesky(covariance)
    entries = [
        np.log(factor[i, j]) if i == j else factor[i, j] for i in range(size) for j in range(i + 1)
    ]
    encoder = model.encoder
    torch.nn.init.zeros_(encoder.f_in.weight)
    for c in range(channels):  # the first grid channels are the image, the others zero
        encoder.f_in.weight[c, c] = 1
    assert encoder.f_in.bias is not None
    torch.nn.init.zeros_(encoder.f_in.bias)
    torch.nn.init.zeros_(encoder.f_mean.weight)
    encoder.f_mean.weight[:, : slope.shape[1]] = tensor(slope)
    encoder.f_mean.bias.copy_(tensor(offset))
    torch.nn.init.zeros_(encoder.f_var.weight)
    encoder.f_var.bias.copy_(tensor(entries))


def bound_of(model: GaussianVAE, x: Array, dtype: torch.dtype) -> Tensor:
    """The model's ELBO of one image, its expectation over z taken exactly by sigma points."""
    model, points = cast(model, dtype), sigma_points(model.config.latent_dim)
    images = tensor(np.repeat(x, len(points), axis=0), dtype)
    mean, sigma, q = model(images, tensor(points, dtype))
    return elbo(images, mean, sigma, q.kl()).value.mean()


def log_weights(model: GaussianVAE, x: Array, noise: Array, dtype: torch.dtype) -> Tensor:
    """log p(x|z) + log r(z) − log q(z|x) of one image at the z of each noise: (K, 1)."""
    model, image = cast(model, dtype), tensor(x, dtype)
    q = model.encode(image)
    z = q.sample(tensor(noise, dtype)[:, None])[:, 0]
    mean, sigma = model.decode(z)
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(1)
    likelihood = gaussian_log_likelihood(image, mean, sigma, image.ndim - 1)
    return (likelihood + log_prior - q.log_prob(z))[:, None]


@claim("ELBO = evidence − KL(q ‖ posterior), where the evidence is known", "lecture, Recap")
def elbo_misses_the_divergence(draw: Draw) -> Errors:
    model, solution, x = draw_linear_vae(draw)
    (mean,), (scale,) = reference_posterior(model, x)
    covariance = scale @ scale.T if scale.ndim == 2 else np.diag(scale**2)
    missed = reference.kl_normal(mean, covariance, *solution.posterior(x.ravel()))
    expected = solution.evidence(x.ravel()) - missed
    return errors(lambda dtype: bound_of(model, x, dtype), expected)


@claim("ELBO = evidence at the exact posterior", "lecture, Recap")
def elbo_is_tight(draw: Draw) -> Errors:
    model, solution, x = draw_exact_vae(draw)
    expected = solution.evidence(x.ravel())
    return errors(lambda dtype: bound_of(model, x, dtype), expected)


def draw_exact_vae(draw: Draw) -> tuple[GaussianVAE, reference.LinearGaussian, Array]:
    """As `draw_linear_vae`, with the exact posterior for its encoder (Σ must be full for that)."""
    while True:
        model, solution, x = draw_linear_vae(draw)
        if model.config.covariance == "full":
            make_exact(model, solution)
            return model, solution, x


@claim("the importance-weighted bound is the evidence there, for every K", "lecture, Recap")
def importance_weighted_bound_is_tight(draw: Draw) -> Errors:
    model, solution, x = draw_exact_vae(draw)
    noise = draw.array(draw.integer(1, 20), model.config.latent_dim)

    def bound(dtype: torch.dtype) -> Tensor:
        return importance_weighted_bound(log_weights(model, x, noise, dtype))

    return errors(bound, [solution.evidence(x.ravel())])


@claim("the importance-weighted bound is log of the mean weight", "lecture, Recap")
def importance_weighted_bound_is_its_formula(draw: Draw) -> Errors:
    values = 5 * draw.array(draw.integer(1, 20), 2) - 500
    expected = [reference.iwae(column) for column in values.T]
    return errors(lambda dtype: importance_weighted_bound(tensor(values, dtype)), expected)


@claim("the importance-weighted bound grows with K", "lecture, Recap", measure=EXACT)
def importance_weighted_bound_grows(draw: Draw) -> Errors:
    model, _, x = draw_linear_vae(draw)
    half = draw.integer(1, 16)
    values = log_weights(model, x, draw.array(2 * half, model.config.latent_dim), torch.float64)
    whole, first, second = (
        importance_weighted_bound(part).item() for part in (values, values[:half], values[half:])
    )
    return wrong(whole >= (first + second) / 2 - 1e-12)


@claim("the mean importance weight is the evidence", "lecture, Recap", measure=STATISTICAL)
def importance_weights_are_unbiased(draw: Draw) -> Errors:
    model, solution, x = draw_exact_vae(draw)
    # A third of a standard deviation off the posterior, so that weights vary, but not wildly.
    factor = np.linalg.cholesky(solution.posterior(x.ravel())[1])
    model.encoder.f_mean.bias.add_(tensor(factor.sum(1) / (3 * np.sqrt(len(factor)))))
    values = log_weights(model, x, draw.array(2000, model.config.latent_dim), torch.float64)
    relative = (values - solution.evidence(x.ravel())).exp().flatten().numpy()
    return standard_errors(relative, 1.0)


@claim("x̃ = g(z̃) + σ η has the evidence's mean and covariance", "lecture, Algorithm 1")
def samples_have_the_evidences_moments(draw: Draw) -> Errors:
    model, solution, _ = draw_linear_vae(draw)
    latent_dim, num_pixels = model.config.latent_dim, solution.offset.size
    points = sigma_points(latent_dim + num_pixels)

    def moments(dtype: torch.dtype) -> dict[str, Tensor]:
        z, noise = tensor(points, dtype).split([latent_dim, num_pixels], dim=1)
        mean, sigma = cast(model, dtype).decode(z)
        samples = (mean + sigma * noise.view_as(mean)).flatten(1)
        offset = samples - samples.mean(0)
        return {"mean": samples.mean(0), "covariance": offset.T @ offset / len(samples)}

    covariance = solution.slope @ solution.slope.T + solution.sigma**2 * np.eye(num_pixels)
    return errors(moments, {"mean": solution.offset, "covariance": covariance})


@claim("bits/dim = −ELBO/(D log 2) + log₂ levels", "lecture, Image Modeling")
def bits_are_nats_converted(draw: Draw) -> Errors:
    nats, num_dims = 1000 * float(draw.array()), draw.integer(1, 4000)
    levels = draw.choice([2, 256, 1024, 65536])
    expected = [reference.bits_per_dim(nats, num_dims, levels), np.log2(levels)]
    # A density that is 1 on all of [0, 1] knows nothing: log₂ levels bits for each value.
    return errors(
        lambda dtype: [
            bits_per_dim(float(tensor(nats, dtype)), num_dims, levels),
            bits_per_dim(0.0, num_dims, levels),
        ],
        expected,
    )


@claim(
    "dequantized bits are no fewer than the discrete image's",
    "lecture, Image Modeling",
    measure=EXACT,
)
def dequantized_bits_bound_the_code(draw: Draw) -> Errors:
    levels = draw.choice([2, 4, 16, 256])
    k, sigma = draw.integer(0, levels - 1), 0.02 + draw.rng.random()
    mean = (k + 0.5) / levels + sigma * draw.rng.uniform(-3, 3)
    density = Normal(tensor(mean), tensor(sigma))
    uniform = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    nats = density.log_prob((k + uniform) / levels).mean().item()
    cell = density.cdf(tensor((k + 1) / levels)) - density.cdf(tensor(k / levels))
    return wrong(bits_per_dim(nats, 1, levels) >= -torch.log2(cell).item() - 1e-9)


@claim("levels tile [0, 1]: cells, centres and back", "lecture, Image Modeling", measure=EXACT)
def levels_tile_the_interval(draw: Draw) -> Errors:
    raw = torch.arange(256)
    uniform = torch.from_numpy(draw.rng.random(256).astype(np.float32)) * 0.9999
    dequantized = dequantize(raw, 256, uniform)
    centres = (torch.arange(256).double() + 0.5) / 256
    return wrong(
        bool(((dequantized >= 0) & (dequantized <= 1)).all()),
        torch.equal((dequantized * 256).floor().long(), raw),
        torch.equal(to_unit(raw, 256).double(), centres),
        torch.equal(to_uint8(to_unit(raw, 256)).long(), raw),
        torch.equal(to_uint8(dequantized).long(), raw),
    )
