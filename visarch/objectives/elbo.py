"""The evidence lower bound of a Gaussian VAE (lecture, "Recap" and Algorithm 1).

    log p(x) ≥ ELBO(x) = E_{z ~ q(z | x)} [ log N(x; g(z), σ²(z) I) ] − KL(q(z | x) ‖ N(0, I))

All values are in nats for each image, and hold every constant: Algorithm 1 drops D log σ and
D/2 log 2π, which is right only where σ is constant.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Elbo(NamedTuple):
    """The two parts of the bound, in nats for each image: ``value`` = reconstruction − kl."""

    reconstruction: Float[Tensor, "*b"]
    kl: Float[Tensor, "*b"]

    @property
    def value(self) -> Float[Tensor, "*b"]:
        return self.reconstruction - self.kl


def gaussian_log_likelihood(
    x: Float[Tensor, "..."], mean: Float[Tensor, "..."], sigma: Float[Tensor, "..."], num_axes: int
) -> Float[Tensor, "*b"]:
    """log N(x; g, σ² I) = −‖x − g‖² / 2σ² − D log σ − D/2 log 2π, in nats.

    Args:
        x: images.
        mean: g, one or several for each image, as far as the shapes broadcast.
        sigma: σ of each image, with axes of size 1 in place of the image's; or one for all ().
        num_axes: how many axes at the end make one image; the others are kept.

    Raises:
        ValueError: if σ differs within an image.

    Source: lecture, "Recap: The Gaussian VAE".
    """
    if any(size != 1 for size in sigma.shape[-num_axes:]):
        raise ValueError(
            f"sigma has the shape {tuple(sigma.shape)}: it is one number for each image, so its "
            f"last {num_axes} axes must have size 1"
        )
    error = x - mean
    num_dims = error.shape[-num_axes:].numel()
    sigma = sigma.reshape(sigma.shape[:-num_axes])
    squared = error.square().sum(list(range(-num_axes, 0)))
    return -0.5 * squared / sigma.square() - num_dims * (sigma.log() + 0.5 * math.log(2 * math.pi))


def elbo(
    x: Float[Tensor, "b c *spatial"],
    mean: Float[Tensor, "b c *spatial"],
    sigma: Float[Tensor, "b 1 *ones"],
    kl: Float[Tensor, " b"],
) -> Elbo:
    """One-sample estimate of the bound: g and σ are the decoder's at one z ~ q(z | x).

    Its mean over a minibatch, negated, is Algorithm 1's objective with the terms that matter once
    σ is learned.

    Source: lecture, "Recap: Variational Autoencoders" and Algorithm 1.
    """
    return Elbo(gaussian_log_likelihood(x, mean, sigma, x.ndim - 1), kl)


def importance_weighted_bound(log_weights: Float[Tensor, "k *b"]) -> Float[Tensor, "*b"]:
    """log (1/K) Σ_k w_k from log w_k = log p(x | z_k) + log p(z_k) − log q(z_k | x), z_k ~ q.

    For K = 1 its expectation is the ELBO; it grows with K, towards log p(x).

    Source: Burda et al. 2016, equation 8.
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def bits_per_dim(nats: float, num_dims: int, levels: int | None) -> float:
    """Bits per dimension of the discrete image, from the log density of its dequantized self.

    −nats / (D log 2) + log₂(levels): a density on [0, 1] of values k + u, u uniform, in units of
    ``levels`` steps bounds the probability of the integers k from below (Theis et al. 2016). Data
    without levels has a density only, and log₂(levels) is left out.
    """
    return -nats / (num_dims * math.log(2)) + (math.log2(levels) if levels else 0.0)
