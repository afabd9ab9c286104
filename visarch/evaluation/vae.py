"""How well a Gaussian VAE explains images: bounds on their likelihood, and what the latents do.

All bounds are in nats for each image and include every constant of the densities.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visarch.evaluation.importance import Decode, Draw, Posterior, importance_bound
from visarch.evaluation.intervals import standard_error
from visarch.objectives.elbo import bits_per_dim, elbo

ACTIVE = 0.01
"""Variance of a latent's posterior mean over the images above which it counts as active (Burda et
al. 2016, section 5.2)."""


Encode = Callable[[Tensor], Posterior]
Batches = Iterable[tuple[Tensor, Draw]]
"""Images (b, C, *spatial), and what draws standard normal noise (b, Z) for them: draw 0 is the
ELBO's, those from 1 are the importance samples'."""


@dataclass(frozen=True)
class VAEMeasurement:
    """What was measured over a set of images; iterate over it for (name, value)."""

    num_dims: int
    """D: numbers in one image."""
    levels: int | None
    """Values a pixel can have; none where they are continuous."""
    reconstruction: Tensor
    """log p(x | z) of each image (n,)."""
    kl: Tensor
    """KL(q(z | x) ‖ p(z)) of each image (n,)."""
    squared_error: Tensor
    """Mean squared error of the reconstruction of each image (n,)."""
    sigma: Tensor
    """σ of each image (n,)."""
    kl_per_dimension: Tensor
    """KL of each latent dimension's marginal, averaged over the images (Z,)."""
    mean_variance: Tensor
    """Variance of the posterior mean over the images (Z,)."""
    importance_bound: Tensor | None
    """Importance-weighted bound of each image (n,), if asked for."""
    importance_samples: int

    @property
    def num_images(self) -> int:
        """n: how many images were measured."""
        return len(self.kl)

    @property
    def bound(self) -> Tensor:
        """ELBO of each image (n,)."""
        return self.reconstruction - self.kl

    @property
    def active_units(self) -> int:
        """How many latent dimensions tell images apart."""
        return int((self.mean_variance > ACTIVE).sum())

    def __iter__(self) -> Iterator[tuple[str, float]]:
        yield "bits/dim", self._bits(float(self.bound.mean()))
        yield "ELBO", float(self.bound.mean())
        yield "reconstruction", float(self.reconstruction.mean())
        yield "KL", float(self.kl.mean())
        yield "rmse", float(self.squared_error.mean().sqrt())
        yield "sigma", float(self.sigma.mean())
        yield "active units", float(self.active_units)
        if self.importance_bound is not None:
            nats = float(self.importance_bound.mean())
            yield f"{self.importance_name} bound", nats
            yield f"{self.importance_name} bits/dim", self._bits(nats)

    @property
    def importance_name(self) -> str:
        """What the importance-weighted bound with K samples is called: IW-K."""
        return f"IW-{self.importance_samples}"

    def standard_errors(self) -> dict[str, float]:
        """Standard errors, over the images, of the values that are means; NaN for a single image.

        They say how far apart the means over other images of the same kind, with other noise, would
        lie.
        """
        errors = {
            "ELBO": standard_error(self.bound),
            "reconstruction": standard_error(self.reconstruction),
            "KL": standard_error(self.kl),
            "sigma": standard_error(self.sigma),
        }
        errors["bits/dim"] = self._bits_spread(errors["ELBO"])
        if self.importance_bound is not None:
            nats = standard_error(self.importance_bound)
            errors[f"{self.importance_name} bound"] = nats
            errors[f"{self.importance_name} bits/dim"] = self._bits_spread(nats)
        return errors

    def _bits(self, nats: float) -> float:
        return bits_per_dim(nats, self.num_dims, self.levels)

    def _bits_spread(self, nats: float) -> float:
        return bits_per_dim(-nats, self.num_dims, None)  # a difference: log₂(levels) drops out


@torch.no_grad()
def measure_vae(
    encode: Encode,
    decode: Decode,
    batches: Batches,
    *,
    levels: int | None,
    importance_samples: int = 0,
    decode_many: Decode | None = None,
    at_once: int = 256,
) -> VAEMeasurement:
    """Measure a VAE on images, by one posterior sample each, or by K for the tighter bound.

    Args:
        encode: images to posteriors.
        decode: latents to (mean, σ).
        batches: the images, dequantized if they have levels, and their noise.
        levels: values a pixel can have, to count bits of the discrete image.
        importance_samples: K of the importance-weighted bound; 0 leaves it out.
        decode_many: decodes the K samples faster and less exactly, which does not bias the bound.
        at_once: how many of them are decoded in one call, or those of one sample of each image.

    Raises:
        ValueError: if there are no images.

    Source: lecture, Algorithm 1; Burda et al. 2016.
    """
    parts: list[tuple[Tensor, ...]] = []
    means, shape = [], None
    for x, draw in batches:
        shape = x.shape[1:]
        posterior = encode(x)
        mean, sigma = decode(posterior.sample(draw(0)))
        terms = elbo(x, mean, sigma, posterior.kl())
        error = (x - mean).square().flatten(1).mean(1)
        weights = torch.empty_like(terms.kl)
        if importance_samples:
            weights = importance_bound(
                x,
                posterior,
                decode,
                draw,
                importance_samples,
                decode_many=decode_many,
                at_once=at_once,
            )
        per_dimension = posterior.kl_per_dimension()
        parts.append((*terms, error, sigma.flatten(1).mean(1), per_dimension, weights))
        means.append(posterior.mean)
    if shape is None:
        raise ValueError("there are no images to measure the VAE on")
    reconstruction, kl, error, sigma, per_dimension, weights = map(
        torch.cat, zip(*parts, strict=True)
    )
    return VAEMeasurement(
        num_dims=shape.numel(),
        levels=levels,
        reconstruction=reconstruction,
        kl=kl,
        squared_error=error,
        sigma=sigma,
        kl_per_dimension=per_dimension.mean(0),
        mean_variance=torch.cat(means).var(0, correction=0),
        importance_bound=weights if importance_samples else None,
        importance_samples=importance_samples,
    )


def collapse_warning(kl: float, active_units: int, latent_dim: int) -> str | None:
    """What to change if the posterior has collapsed onto the prior; none if it has not.

    A latent that is the same for all images tells the decoder nothing: with hardly any nats, or
    hardly any active dimension, the VAE has learned an average image.
    """
    if kl >= 1 and active_units >= max(1, latent_dim // 20):
        return None
    return (
        f"The posterior has collapsed: KL is {kl:.2f} nats and {active_units} of {latent_dim} "
        "latent dimensions are active, so the latents say hardly anything about the image. Let the "
        "reconstruction weigh more at first (--kl-warmup-steps 1000), hold σ small "
        "(--sigma constant --initial-sigma 0.05), or train for longer."
    )
