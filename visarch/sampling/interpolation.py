"""Interpolation in the space of noise, and the way there from an image."""

from __future__ import annotations

import torch
from torch import Tensor

from visarch.objectives.diffusion import Schedule, alpha_sigma, to_noise
from visarch.sampling.samplers import Denoise, estimate, levels


def slerp(start: Tensor, end: Tensor, weights: Tensor) -> Tensor:
    """(sin((1 − w) θ) start + sin(w θ) end) / sin θ, θ being the angle between the two.

    Along the straight line, the middle of two noises would have half their variance; on the arc it
    has all of it, and looks like noise to the network.

    Shapes: start and end (c, …); weights (k,), 0 at the start and 1 at the end; → (k, c, …).

    Source: Shoemake 1985; for noise, White 2016.
    """
    cosine = torch.dot(start.flatten(), end.flatten()) / (start.norm() * end.norm())
    angle = cosine.clamp(-1, 1).acos()
    w = weights.view(-1, *(1,) * start.ndim)
    straight = angle.sin() < 1e-4  # parallel: sin θ is no divisor
    divisor = torch.where(straight, 1, angle.sin())
    at_start = torch.where(straight, 1 - w, ((1 - w) * angle).sin() / divisor)
    at_end = torch.where(straight, w, (w * angle).sin() / divisor)
    return at_start * start + at_end * end


def invert(
    denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule, *, iterations: int = 3
) -> Tensor:
    """The noise from which :func:`visarch.sampling.ddim` makes these images.

    Each DDIM step is x_t = (α_t/α_s) x_s + (σ_t − σ_s α_t/α_s) ε̂(x_t, t), solved for x_t by fixed
    point iteration from the ε̂ of the step before: with more iterations, the images come back more
    exactly. The estimate must not be limited, as it would lose what lies beyond.

    Args:
        denoise: estimates the image.
        x: images on the scale −1 … 1, (b, c, …).
        times: grid that DDIM will take from noise to image, (n + 1,).
        schedule: λ(t).
        iterations: evaluations for each step.

    Raises:
        ValueError: the times do not fall.

    Source: Song et al. 2021 (DDIM), section 5.4; solved as in Pan et al. 2023 (AIDI).
    """
    grid, log_snr, _ = levels(times, schedule, x)
    epsilon = torch.zeros_like(x)
    for step in reversed(range(len(log_snr) - 1)):
        alpha_t, sigma_t = alpha_sigma(log_snr[step])
        alpha_s, sigma_s = alpha_sigma(log_snr[step + 1])
        carried = (alpha_t / alpha_s) * x
        added = sigma_t - sigma_s * alpha_t / alpha_s
        for _ in range(iterations):
            x = carried + added * epsilon
            data, _ = estimate(denoise, x, grid[step])
            epsilon = to_noise(data, x, log_snr[step], "x0")
        x = carried + added * epsilon
    return x
