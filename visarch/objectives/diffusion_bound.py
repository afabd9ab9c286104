"""The variational bound of a diffusion model, term by term, and the objective of learned variances.

    −log p(x) ≤ KL(q(x_1 | x) ‖ N(0, I))                                      prior
              + Σ_i E KL(q(x_s | x_t, x) ‖ p(x_s | x_t)),  s = t_{i−1}, t = t_i   diffusion
              − E log p(x | x_0)                                              decoder

over any times 0 = t_0 < t_1 < … < t_T = 1. All values are in nats for each image, of x on the scale
−1 … 1: a density of x is 2^−D times that of the same image on the scale 0 … 1.

Source: Sohl-Dickstein et al. 2015; Ho et al. 2020, equation 5; Kingma et al. 2021, equation 11.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus
from torch.special import log_ndtr

from visarch.objectives.diffusion import (
    Prediction,
    Weighting,
    across,
    diffuse,
    diffusion_loss,
    to_data,
    variance_fraction,
)

HYBRID_WEIGHT = 0.001
"""Weight of the bound beside the loss of the mean (Nichol & Dhariwal 2021, section 3.1)."""


def prior_kl(x: Float[Tensor, "b *axes"], log_snr: Float[Tensor, "*n"]) -> Float[Tensor, " b"]:
    """KL(q(x_1 | x) ‖ N(0, I)) = ½ Σ (α² x² + σ² − 1 − log σ²), at the λ where time ends."""
    log_snr = across(log_snr, x)
    terms = log_snr.sigmoid() * (x.square() - 1) - logsigmoid(-log_snr)
    return 0.5 * terms.flatten(1).sum(1)


def step_kl(
    x: Float[Tensor, "b *axes"],
    estimate: Float[Tensor, "b *axes"],
    log_snr_t: Float[Tensor, "*n"],
    log_snr_s: Float[Tensor, "*n"],
    fraction: Float[Tensor, "b *axes"] | float = 0.0,
) -> Float[Tensor, " b"]:
    """KL(q(x_s | x_t, x) ‖ p(x_s | x_t)), where p is q with x̂ for x and another variance.

    With the variance of q, β̃, it is ½ (SNR_s − SNR_t) ‖x − x̂‖². In general it is
    ½ Σ (f g + (1 + (SNR_s − SNR_t)(x − x̂)²) e^{−f g} − 1) for the variance β̃ e^{f g}, where
    g = log(β/β̃) = log(σ_t²/σ_s²) and f is the fraction of
    :func:`visarch.objectives.diffusion.ancestral_posterior`.

    Source: Ho et al. 2020, equation 8; Kingma et al. 2021, equation 13.
    """
    log_snr_t, log_snr_s = across(log_snr_t, x), across(log_snr_s, x)
    error = log_snr_t.exp() * torch.expm1(log_snr_s - log_snr_t) * (x - estimate).square()
    widening = fraction * (softplus(log_snr_s) - softplus(log_snr_t))
    terms = widening + torch.expm1(-widening) + error * torch.exp(-widening)
    return 0.5 * terms.flatten(1).sum(1)


def discretized_log_likelihood(
    x: Float[Tensor, "b *axes"],
    mean: Float[Tensor, "b *axes"],
    sigma: Float[Tensor, "..."],
    levels: int,
) -> Float[Tensor, " b"]:
    """log of the mass that N(mean, σ²) has in the cells of an image with so many levels.

    Σ log(Φ((x + h − mean)/σ) − Φ((x − h − mean)/σ)), where h = 1/levels is half a cell; the first
    and the last cell reach to −∞ and ∞, so that the cells share all of the mass.

    Args:
        x: the image's levels, at the centers of their cells on the scale −1 … 1.
        mean: mean of the Gaussian.
        sigma: its standard deviation, broadcastable to x.
        levels: how many cells tile −1 … 1.

    Source: Ho et al. 2020, equation 13.
    """
    center, half = (x - mean) / sigma, 1 / (levels * sigma)
    lower = torch.where(x < -1 + 2 / levels, -torch.inf, center - half)
    upper = torch.where(x > 1 - 2 / levels, torch.inf, center + half)
    # the mirror image has the same mass, and logarithms are exact in the left tail
    lower, upper = (
        torch.where(center > 0, -upper, lower),
        torch.where(center > 0, -lower, upper),
    )
    larger = log_ndtr(upper)
    return (larger + torch.log(-torch.expm1(log_ndtr(lower) - larger))).flatten(1).sum(1)


def hybrid_loss(
    output: Float[Tensor, "b channels *spatial"],
    x: Float[Tensor, "b c *spatial"],
    noise: Float[Tensor, "b c *spatial"],
    log_snr: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    log_snr_s: Float[Tensor, " b"],
    *,
    prediction: Prediction,
    weighting: Weighting,
    num_steps: int,
) -> Float[Tensor, " b"]:
    """The diffusion loss, and 0.001 T KL / D for the variance of a step t → s = max(t − 1/T, 0).

    The second term's gradient reaches the variance only: the mean is taken as it is.

    Args:
        output: twice the channels of x; what is predicted first, then the variance.
        x: images on the scale −1 … 1.
        noise: ε.
        log_snr: λ at each image's time t.
        rate: −dλ/dt there.
        log_snr_s: λ(s), larger than λ(t).
        prediction: what the first half of the output means.
        weighting: of the first term.
        num_steps: T, the number of steps whose variances are learned.

    Source: Nichol & Dhariwal 2021, equation 16; their code counts the second term in bits.
    """
    predicted, variance = output.chunk(2, dim=1)
    loss = diffusion_loss(
        predicted, x, noise, log_snr, rate, prediction=prediction, weighting=weighting
    )
    x_t = diffuse(x, noise, log_snr)
    estimate = to_data(predicted.detach(), x_t, log_snr, prediction)
    kl = step_kl(x, estimate, log_snr, log_snr_s, variance_fraction(variance))
    return loss + HYBRID_WEIGHT * num_steps * kl / x[0].numel()
