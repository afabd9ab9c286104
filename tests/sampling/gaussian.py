"""Images whose pixels are independent Gaussians: the best estimate and all laws are known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from visarch.objectives.diffusion import Schedule, alpha_sigma, ancestral_posterior


class GaussianData:
    """x ~ N(μ, s²), for each of the pixels (c, w)."""

    def __init__(self, mean: Tensor, spread: Tensor, schedule: Schedule) -> None:
        self.mean, self.spread, self.schedule = mean, spread, schedule

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x | x_t]."""
        alpha, sigma = alpha_sigma(self.schedule(t).view(-1, 1, 1))
        weight = alpha * self.spread**2 / self.variance(alpha, sigma)
        return self.mean + weight * (x - alpha * self.mean)

    def variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Of x_t."""
        return (alpha * self.spread) ** 2 + sigma**2

    def flow(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Where the exact ODE takes x between two log-SNRs: each pixel keeps its quantile."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(start), alpha_sigma(end)
        scale = (self.variance(alpha_s, sigma_s) / self.variance(alpha_t, sigma_t)).sqrt()
        return alpha_s * self.mean + scale * (x - alpha_t * self.mean)

    def best_fraction(self, log_snr_t: Tensor, log_snr_s: Tensor) -> Tensor:
        """Of the variance of p(x_s | x_t), between β̃ and β."""
        none, one = torch.zeros_like(self.mean)[None], torch.ones_like(self.mean)[None]
        slope = ancestral_posterior(none, one, log_snr_t, log_snr_s)[0]
        alpha, sigma = alpha_sigma(log_snr_t)
        uncertainty = (self.spread * sigma) ** 2 / self.variance(alpha, sigma)
        _, lower = ancestral_posterior(none, none, log_snr_t, log_snr_s)
        _, upper = ancestral_posterior(none, none, log_snr_t, log_snr_s, 1.0)
        return (((lower + slope**2 * uncertainty) / lower).log() / (upper / lower).log())[0]


def law_of(
    sample: Callable[[Tensor, Callable[[int], Tensor]], Tensor], shape: tuple[int, ...], draws: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance of what an affine sampler makes of standard normal noise, exactly.

    Of a batch, the first image gets no noise at all, the second one unit at the start, and the
    others one unit each at one of the draws: what they differ by, squared, adds up.
    """
    impulses = torch.zeros(draws + 1, draws + 2, *shape, dtype=torch.float64)
    for k in range(draws + 1):
        impulses[k, k + 1] = 1
    out = sample(impulses[0], lambda step: impulses[step + 1])
    return out[0], (out[1:] - out[0]).square().sum(0)
