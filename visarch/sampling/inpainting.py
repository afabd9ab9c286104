"""Inpainting: the rest of an image of which a part is known, by any sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visarch.objectives.diffusion import Schedule, diffuse_further
from visarch.sampling.samplers import Denoise, Noise, Sampler, Watch, unwatched


def inpainted(denoise: Denoise, known: Tensor, mask: Tensor) -> Denoise:
    """x̂ with its known part replaced by what is known.

    There every sampler follows the exact trajectory of the known image: x_t is its diffused value,
    α_t x + σ_t ε with the noise that the trajectory has, and the result is the image itself.

    Args:
        denoise: estimates the whole image.
        known: the image on the scale −1 … 1, (b, c, …) or broadcastable; what is not known of it
            does not matter.
        mask: true where it is known, broadcastable to the image.
    """

    def denoise_rest(x: Tensor, t: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        answer = denoise(x, t)
        if isinstance(answer, tuple):
            data, fraction = answer
            return torch.where(mask, known, data), fraction
        return torch.where(mask, known, answer)

    return denoise_rest


def repaint(
    sampler: Sampler,
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise,
    watch: Watch = unwatched,
    rounds: int = 10,
    jump: int = 1,
) -> Tensor:
    """Sample with each stretch of the grid gone over several times, to harmonize both parts.

    A stretch is so many steps. From its end x is diffused back to its beginning, and the sampler
    sets out again: the unknown part can then fit itself to what it has made of the known one. One
    round is the sampler itself; r rounds cost r times its evaluations.

    Args:
        sampler: any; one of several steps starts anew with each stretch.
        denoise: as :func:`inpainted` makes it.
        x: noise N(0, I).
        times: grid of the sampler.
        schedule: λ(t).
        noise: of each step and each return, counted together from 0.
        watch: told of each step, counted in the same way.
        rounds: how often each stretch is gone over.
        jump: steps in a stretch.

    Raises:
        ValueError: there is no round, or no step to a stretch.

    Source: Lugmayr et al. 2022 (RePaint), algorithm 1 and section 4.2.
    """
    for name, value in (("rounds", rounds), ("jump", jump)):
        if value < 1:
            raise ValueError(f"{name} is {value}: it must be at least 1")
    num_steps, count = len(times) - 1, 0
    length = jump if rounds > 1 else num_steps
    for start in range(0, num_steps, length):
        stretch = times[start : start + length + 1]
        for round_number in range(rounds):
            if round_number > 0:
                x = _return(x, noise(count), stretch, schedule)
                count += 1
            x = sampler(
                denoise,
                x,
                stretch,
                schedule,
                noise=_counted_from(count, noise),
                watch=_counted_from(count, watch),
            )
            count += len(stretch) - 1
    return x


def _counted_from(count: int, told: Callable[..., Any]) -> Callable[..., Any]:
    """A function of steps, for one who counts them from 0 again."""
    return lambda step, *what: told(count + step, *what)


def _return(x: Tensor, noise: Tensor, stretch: Tensor, schedule: Schedule) -> Tensor:
    """From the end of a stretch to its beginning; the end may be time 0, which is clean."""
    ends = stretch[[0, -1]].to("cpu", torch.float64)
    log_snr_t, log_snr_s = torch.where(ends > 0, schedule(ends), torch.inf)
    return diffuse_further(x, noise, log_snr_s, log_snr_t)
