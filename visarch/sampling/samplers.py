"""Samplers of a diffusion model: from noise to an image along a grid of times.

Each is a function of what estimates the image, ``denoise(x_t, t) → x̂``, and of nothing else that is
learned. Coefficients are computed in double precision on the CPU, so that no step waits for the
device, and noise is asked for step by step, so that the caller decides where it comes from.

Time 0 is clean: a step that ends there gives x̂ itself and adds no noise, whatever little noise the
schedule would leave. A grid may end earlier, and another may go on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor

from visarch.objectives.diffusion import Schedule, alpha_sigma, ancestral_posterior, to_noise

Denoise = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
"""x_t (b, …) and times (b,) to x̂ (b, …), or to x̂ and the fraction of a learned variance."""

Noise = Callable[[int], Tensor]
"""The number of a step, from 0, to standard normal noise (b, …) for it."""

Watch = Callable[[int, Tensor, Tensor], None]
"""Told of each step, from 0: its number, x after it, and the x̂ it went by."""


class Sampler(Protocol):
    """What all samplers have in common."""

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        times: Tensor,
        schedule: Schedule,
        *,
        noise: Noise = ...,
        watch: Watch = ...,
    ) -> Tensor: ...


def no_noise(step: int) -> Tensor:
    """The noise of a sampler that needs none.

    Raises:
        ValueError: one needs some after all.
    """
    raise ValueError(f"this sampler adds noise at step {step}: pass it as noise=…")


def unwatched(step: int, x: Tensor, data: Tensor) -> None:
    """Nobody is watching."""


def ddpm(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise = no_noise,
    watch: Watch = unwatched,
    fraction: float = 0.0,
) -> Tensor:
    """Ancestral sampling: each x_s is drawn from q(x_s | x_t, x̂).

    Args:
        denoise: estimates the image, and may say how wide each step is.
        x: noise N(0, I), or x_t of the first time, (b, …).
        times: t from large to small, (n + 1,) for n steps.
        schedule: λ(t).
        noise: noise of each step.
        watch: told of each step.
        fraction: of the variance, between β̃ (0) and β (1), where the network has learned none.

    Raises:
        ValueError: the times do not fall, or there is no noise.

    Source: Ho et al. 2020, algorithm 2; Nichol & Dhariwal 2021 for fewer steps than in training.
    """
    grid, log_snr, clean = levels(times, schedule, x)
    for step, (log_snr_t, log_snr_s) in enumerate(pairwise(log_snr)):
        data, width = estimate(denoise, x, grid[step], fraction)
        x, variance = ancestral_posterior(x, data, log_snr_t, log_snr_s, width)
        if not clean[step]:
            x = x + variance.sqrt() * noise(step)
        watch(step, x, data)
    return x


def ddim(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise = no_noise,
    watch: Watch = unwatched,
    eta: float = 0.0,
) -> Tensor:
    """x_s = α_s x̂ + √(σ_s² − η² β̃) ε̂ + η √β̃ ε: deterministic for η = 0, ancestral for η = 1.

    Arguments as of :func:`ddpm`; noise is asked for only if η > 0.

    Source: Song et al. 2021 (denoising diffusion implicit models), equations 12 and 16.
    """
    grid, log_snr, clean = levels(times, schedule, x)
    for step, (log_snr_t, log_snr_s) in enumerate(pairwise(log_snr)):
        data, _ = estimate(denoise, x, grid[step])
        epsilon = to_noise(data, x, log_snr_t, "x0")
        alpha, sigma = alpha_sigma(log_snr_s)
        deviation = eta * sigma * (-torch.expm1(log_snr_t - log_snr_s)).sqrt()
        x = alpha * data + (sigma.square() - deviation.square()).sqrt() * epsilon
        if eta > 0 and not clean[step]:
            x = x + deviation * noise(step)
        watch(step, x, data)
    return x


def heun(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise = no_noise,
    watch: Watch = unwatched,
) -> Tensor:
    """Heun's method on d(x/α) = ε̂ d(σ/α): of second order, with two evaluations a step.

    A step is DDIM's, and then, unless it ends at time 0, the same with the mean of ε̂ at both ends.
    Arguments as of :func:`ddpm`; noise is never asked for.

    Source: Karras et al. 2022, algorithm 1, in the variance preserving coordinates.
    """
    grid, log_snr, clean = levels(times, schedule, x)
    for step, (log_snr_t, log_snr_s) in enumerate(pairwise(log_snr)):
        data, _ = estimate(denoise, x, grid[step])
        ahead = _first_order(x, data, log_snr_t, log_snr_s)
        if not clean[step]:
            data_ahead, _ = estimate(denoise, ahead, grid[step + 1])
            change = to_noise(data_ahead, ahead, log_snr_s, "x0") - to_noise(
                data, x, log_snr_t, "x0"
            )
            (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(log_snr_t), alpha_sigma(log_snr_s)
            ahead = ahead + 0.5 * (sigma_s - alpha_s * sigma_t / alpha_t) * change
        x = ahead
        watch(step, x, data)
    return x


def dpm_solver_pp(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise = no_noise,
    watch: Watch = unwatched,
) -> Tensor:
    """DPM-Solver++(2M): x_s = (σ_s/σ_t) x_t − α_s (e^−h − 1) D, of second order, one evaluation.

    h = (λ_s − λ_t)/2, and D = x̂ + (h / 2h') (x̂ − x̂') extrapolates from the step before, whose
    values are primed. The first step has none, and one that ends at time 0 is infinitely long: they
    are of first order, D = x̂. Arguments as of :func:`ddpm`; noise is never asked for.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2; its λ is half of ours.
    """
    grid, log_snr, clean = levels(times, schedule, x)
    before: Tensor | None = None
    for step, (log_snr_t, log_snr_s) in enumerate(pairwise(log_snr)):
        data, _ = estimate(denoise, x, grid[step])
        extrapolated = data
        if before is not None and not clean[step]:
            ratio = (log_snr_s - log_snr_t) / (log_snr_t - log_snr[step - 1])
            extrapolated = data + 0.5 * ratio * (data - before)
        x, before = _first_order(x, extrapolated, log_snr_t, log_snr_s), data
        watch(step, x, data)
    return x


SamplerName = Literal["ddpm", "ddim", "heun", "dpm++"]

SAMPLERS: dict[SamplerName, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "heun": heun,
    "dpm++": dpm_solver_pp,
}


def num_evaluations(sampler: SamplerName, num_steps: int, *, guided: bool = False) -> int:
    """How often the network sees each image in so many steps to time 0: n, or 2 n − 1 for Heun.

    Guidance doubles it: one evaluation with the condition, one without.
    """
    evaluations = 2 * num_steps - 1 if sampler == "heun" else num_steps
    return 2 * evaluations if guided else evaluations


def levels(times: Tensor, schedule: Schedule, x: Tensor) -> tuple[Tensor, Tensor, list[bool]]:
    """The times beside x, λ at each of them on the CPU, and whether each step ends at time 0.

    Raises:
        ValueError: the times do not fall, or leave 0 … 1.
    """
    nodes = times.detach().to("cpu", torch.float64)
    if len(nodes) < 2 or not (nodes.diff() < 0).all() or nodes[-1] < 0 or nodes[0] > 1:
        given = ", ".join(f"{t:g}" for t in nodes.tolist())
        raise ValueError(f"times are {given}: they must fall from 1 or less to 0 or more")
    log_snr = torch.where(nodes > 0, schedule(nodes), math.inf)
    return nodes.to(x), log_snr, (nodes[1:] == 0).tolist()


def estimate(
    denoise: Denoise, x: Tensor, time: Tensor, fraction: float = 0.0
) -> tuple[Tensor, Tensor | float]:
    """x̂, and the fraction that the network has learned for the variance or else the one given."""
    answer = denoise(x, time.repeat(len(x)))
    return answer if isinstance(answer, tuple) else (answer, fraction)


def _first_order(x: Tensor, data: Tensor, log_snr_t: Tensor, log_snr_s: Tensor) -> Tensor:
    """(σ_s/σ_t) x_t − α_s (e^−h − 1) x̂: where DDIM goes, exactly right for a constant x̂."""
    alpha, sigma = alpha_sigma(log_snr_s)
    _, sigma_t = alpha_sigma(log_snr_t)
    return (sigma / sigma_t) * x - alpha * torch.expm1((log_snr_t - log_snr_s) / 2) * data
