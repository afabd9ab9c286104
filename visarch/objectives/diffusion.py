"""Gaussian diffusion in continuous time: noise schedules, what a network predicts, and the loss.

    x_t = α_t x + σ_t ε,  α² + σ² = 1,  ε ~ N(0, I),  t from 0 (clean) to 1 (noise)

Everything is written in the log-SNR λ = log(α²/σ²), of which α and σ are functions. A schedule is
nothing but λ(t); a network may predict ε, x or v = α ε − σ x, and each follows from another.

λ has one value for each image (b,), or one for all of them (): whatever an example's axes are.

Source: Ho et al. 2020; Kingma et al. 2021 (log-SNR, continuous time); Salimans & Ho 2022 (v).
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

Schedule = Callable[[Tensor], Tensor]
"""λ(t), elementwise and strictly decreasing, made of differentiable operations."""

Prediction = Literal["epsilon", "x0", "v"]
Weighting = Literal["simple", "min_snr", "sigmoid", "elbo"]

MIN_LOG_SNR, MAX_LOG_SNR = -15.0, 15.0
"""Where schedules begin and end, as in Hoogeboom et al. 2023: α or σ is then 5.5e-4, which leaves
nothing to be seen of the image, or of the noise."""

MIN_SNR_GAMMA = 5.0
"""γ of the min-SNR weighting (Hang et al. 2023)."""

SIGMOID_BIAS = 2.0
"""k of the sigmoid weighting (Kingma & Gao 2023)."""


def cosine(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """λ(t) = −2 log tan(π t / 2), that is α = cos(π t / 2), where λ is within its limits.

    The angle runs over just that part of 0 … π/2, so that λ(0) and λ(1) are the limits exactly.

    Source: Nichol & Dhariwal 2021, section 3.2; cut off as in Salimans & Ho 2022.
    """
    start, margin = math.atan(math.exp(-MAX_LOG_SNR / 2)), math.atan(math.exp(MIN_LOG_SNR / 2))
    length = math.pi / 2 - start - margin
    angle, complement = start + length * t, margin + length * (1 - t)
    return 2 * (complement.sin().log() - angle.sin().log())  # the sine of the complement is α


def linear(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """λ(t) = −log(exp B(t) − 1), that is α² = exp(−B), for B = ∫₀ᵗ β and β(t) = 0.1 + 19.9 t.

    These are DDPM's 1000 steps with β from 1e-4 to 0.02 in continuous time. λ(1) is −10.05; λ(0) is
    the upper limit.

    Source: Ho et al. 2020, section 4; Song et al. 2021, appendix C.
    """
    start = math.log1p(math.exp(-MAX_LOG_SNR))
    return -torch.expm1(start + 0.1 * t + 9.95 * t.square()).log()


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "linear": linear}


def log_snr_and_rate(
    schedule: Schedule, t: Float[Tensor, " b"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """λ(t), and −dλ/dt: how fast it falls there, which weights that integrate over λ need."""
    with torch.enable_grad():
        t = t.detach().requires_grad_()
        log_snr = schedule(t)
        (slope,) = torch.autograd.grad(log_snr.sum(), t)
    return log_snr.detach(), -slope


def stratified_times(
    uniform: Float[Tensor, " b"], *, first: int = 0, total: int | None = None
) -> Float[Tensor, " b"]:
    """t_k = (k + u_k) / B: one time from each of B equal parts of [0, 1], for the k-th of B images.

    Together they cover [0, 1] evenly, so the mean loss varies less than with independent times.
    Each image meets all times only if its place in the batch is random, as in shuffled batches.

    Args:
        uniform: u, one number in [0, 1) for each image of this process.
        first: number of this process's first image in the global batch.
        total: B, size of the global batch; by default, these are all of it.

    Source: the low-discrepancy sampler of Kingma et al. 2021, but each image has a u_k of its own
    in place of one for all, so that any number of processes draws the same.
    """
    order = torch.arange(first, first + len(uniform), device=uniform.device)
    return (order + uniform) / (len(uniform) if total is None else total)


def alpha_sigma(log_snr: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """α = √sigmoid(λ) and σ = √sigmoid(−λ), each as exact as the other; λ = ±∞ gives 0 and 1."""
    return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


def diffuse(
    x: Float[Tensor, "b *axes"], noise: Float[Tensor, "b *axes"], log_snr: Float[Tensor, "*n"]
) -> Float[Tensor, "b *axes"]:
    """x_t = α x + σ ε."""
    alpha, sigma = alpha_sigma(across(log_snr, x))
    return alpha * x + sigma * noise


def diffuse_further(
    x_s: Float[Tensor, "b *axes"],
    noise: Float[Tensor, "b *axes"],
    log_snr_s: Float[Tensor, "*n"],
    log_snr_t: Float[Tensor, "*n"],
) -> Float[Tensor, "b *axes"]:
    """x_t = (α_t/α_s) x_s + σ_t √(1 − SNR_t/SNR_s) ε, a draw of q(x_t | x_s) for t > s."""
    log_snr_s, log_snr_t = across(log_snr_s, x_s), across(log_snr_t, x_s)
    (alpha_s, _), (alpha_t, sigma_t) = alpha_sigma(log_snr_s), alpha_sigma(log_snr_t)
    lost = -torch.expm1(log_snr_t - log_snr_s)
    return (alpha_t / alpha_s) * x_s + sigma_t * lost.sqrt() * noise


def target(
    x: Float[Tensor, "b *axes"],
    noise: Float[Tensor, "b *axes"],
    log_snr: Float[Tensor, "*n"],
    prediction: Prediction,
) -> Float[Tensor, "b *axes"]:
    """What the network should have predicted: ε, x, or v = α ε − σ x."""
    alpha, sigma = alpha_sigma(across(log_snr, x))
    match prediction:
        case "epsilon":
            return noise
        case "x0":
            return x
        case "v":
            return alpha * noise - sigma * x
    raise _unknown("prediction", prediction, Prediction)


def to_data(
    output: Float[Tensor, "b *axes"],
    x_t: Float[Tensor, "b *axes"],
    log_snr: Float[Tensor, "*n"],
    prediction: Prediction,
) -> Float[Tensor, "b *axes"]:
    """x̂ from the network's output: (x_t − σ ε̂) / α, or α x_t − σ v̂.

    An error in ε̂ is multiplied by σ/α, up to 1800 at the upper end of time.
    """
    alpha, sigma = alpha_sigma(across(log_snr, x_t))
    match prediction:
        case "epsilon":
            return (x_t - sigma * output) / alpha
        case "x0":
            return output
        case "v":
            return alpha * x_t - sigma * output
    raise _unknown("prediction", prediction, Prediction)


def to_noise(
    output: Float[Tensor, "b *axes"],
    x_t: Float[Tensor, "b *axes"],
    log_snr: Float[Tensor, "*n"],
    prediction: Prediction,
) -> Float[Tensor, "b *axes"]:
    """ε̂ from the network's output: (x_t − α x̂) / σ, or σ x_t + α v̂."""
    alpha, sigma = alpha_sigma(across(log_snr, x_t))
    match prediction:
        case "epsilon":
            return output
        case "x0":
            return (x_t - alpha * output) / sigma
        case "v":
            return sigma * x_t + alpha * output
    raise _unknown("prediction", prediction, Prediction)


def loss_weight(
    log_snr: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    *,
    prediction: Prediction,
    weighting: Weighting,
) -> Float[Tensor, " b"]:
    """The weight of each image's squared error of the prediction target, for uniform times.

    simple:  1, whatever the target is.
    min_snr: min(SNR, γ) for the squared error of x (Hang et al. 2023).
    sigmoid: ½ (−dλ/dt) sigmoid(k − λ) for that of ε (Kingma & Gao 2023).
    elbo:    ½ (−dλ/dt) for that of ε: the diffusion term of the variational bound (Kingma et al.
             2021, equation 17), so that the mean loss is in nats.

    The errors are one and the same: ‖ε − ε̂‖² = SNR ‖x − x̂‖² = α² ‖v − v̂‖².
    """
    match weighting:
        case "simple":
            return torch.ones_like(log_snr)
        case "min_snr":
            of_noise = (MIN_SNR_GAMMA * (-log_snr).exp()).clamp(max=1)
        case "sigmoid":
            of_noise = 0.5 * rate * (SIGMOID_BIAS - log_snr).sigmoid()
        case "elbo":
            of_noise = 0.5 * rate
        case _:
            raise _unknown("weighting", weighting, Weighting)
    match prediction:
        case "epsilon":
            return of_noise
        case "x0":
            return of_noise * log_snr.exp()
        case "v":
            return of_noise * log_snr.sigmoid()
    raise _unknown("prediction", prediction, Prediction)


def diffusion_loss(
    output: Float[Tensor, "b *axes"],
    x: Float[Tensor, "b *axes"],
    noise: Float[Tensor, "b *axes"],
    log_snr: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    *,
    prediction: Prediction,
    weighting: Weighting = "simple",
) -> Float[Tensor, " b"]:
    """w(λ) ‖target − output‖² / D for each image, D being how many numbers one has.

    Args:
        output: what the network made of ``diffuse(x, noise, log_snr)``.
        x: images on the scale −1 … 1.
        noise: ε.
        log_snr: λ at each image's time.
        rate: −dλ/dt there, from :func:`log_snr_and_rate`.
        prediction: what the output means.
        weighting: w, as in :func:`loss_weight`.
    """
    error = (target(x, noise, log_snr, prediction) - output).square().flatten(1).mean(1)
    return loss_weight(log_snr, rate, prediction=prediction, weighting=weighting) * error


def ancestral_posterior(
    x_t: Float[Tensor, "b *axes"],
    x: Float[Tensor, "b *axes"],
    log_snr_t: Float[Tensor, "*n"],
    log_snr_s: Float[Tensor, "*n"],
    fraction: Float[Tensor, "b *axes"] | float = 0.0,
) -> tuple[Float[Tensor, "b *axes"], Float[Tensor, "..."]]:
    """Mean and variance of q(x_s | x_t, x) for s < t, the step that ancestral sampling takes.

    With r = SNR_t / SNR_s, the mean is r (α_s/α_t) x_t + α_s (1 − r) x and the variance is
    β̃ = σ_s² (1 − r). DDPM's other variance is β = σ_t² (1 − r), of which ``fraction`` interpolates
    the logarithm: 0 is β̃, 1 is β, and a network may say what lies between.

    Shapes: variance (), (b, 1, …) or that of x, as λ and fraction have it.

    Source: Ho et al. 2020, equations 6 and 7; Nichol & Dhariwal 2021, equation 15; in log-SNR,
    Kingma et al. 2021, appendix A.
    """
    log_snr_t, log_snr_s = across(log_snr_t, x), across(log_snr_s, x)
    alpha_t, alpha_s = log_snr_t.sigmoid().sqrt(), log_snr_s.sigmoid().sqrt()
    ratio, lost = (log_snr_t - log_snr_s).exp(), -torch.expm1(log_snr_t - log_snr_s)
    mean = ratio * (alpha_s / alpha_t) * x_t + alpha_s * lost * x
    log_scale = (1 - fraction) * logsigmoid(-log_snr_s) + fraction * logsigmoid(-log_snr_t)
    return mean, log_scale.exp() * lost


def variance_fraction(output: Float[Tensor, "b *axes"]) -> Float[Tensor, "b *axes"]:
    """(v + 1) / 2: what a network that has learned its variance puts out, as a fraction.

    It is not bound to 0 … 1; an output of 0 is half-way.

    Source: Nichol & Dhariwal 2021, section 3.1 and their code.
    """
    return (output + 1) / 2


def across(log_snr: Tensor, x: Tensor) -> Tensor:
    """λ beside the axes of the images: (b,) → (b, 1, …, 1); a single one stays as it is."""
    return log_snr.view(-1, *(1,) * (x.ndim - 1)) if log_snr.ndim else log_snr


def _unknown(name: str, value: str, choices: object) -> ValueError:
    known = ", ".join(choices.__args__)  # type: ignore[attr-defined]
    return ValueError(f"{name} is {value!r}: it must be one of {known}")
