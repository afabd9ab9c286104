"""Grids of times for the samplers: n + 1 falling times for n steps, the last of them 0.

They are made in double precision and on the CPU, where the samplers want them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visarch.objectives.diffusion import MAX_LOG_SNR, Schedule

FIRST_LOG_SNR, LAST_LOG_SNR = -10.0, 9.0
"""Between these λ lies what few steps must spend themselves on: at the first, less than 1/100 of
the image is to be seen, and at the last, noise of one or two of 256 levels."""


def uniform_times(num_steps: int) -> Tensor:
    """1, 1 − 1/n, …, 1/n, 0.

    Raises:
        ValueError: there is no step.
    """
    return torch.linspace(1, 0, _at_least_one(num_steps) + 1, dtype=torch.float64)


def log_snr_times(
    num_steps: int,
    schedule: Schedule,
    *,
    first: float | None = None,
    last: float = LAST_LOG_SNR,
) -> Tensor:
    """The times where λ(t) takes n equally spaced values from ``first`` to ``last``, and then 0.

    With 20 steps DPM-Solver++ comes two or three times closer to where infinitely many would lead
    than with uniform times, and Heun's method, for which the first uniform step is much too long,
    comes near it at all. DDIM can do as well with uniform times.

    Args:
        num_steps: n.
        schedule: λ(t).
        first: by default −10, or as much less as the schedule was shifted for large images, whose
            average color shows at a lower λ: it then begins below the usual λ(0), wherever it
            ends.
        last: the λ from which the last step goes to time 0.

    Raises:
        ValueError: there is no step.

    Source: Lu et al. 2022 (DPM-Solver), section 3.3.
    """
    end, start = schedule(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    if first is None:
        first = FIRST_LOG_SNR + min(0.0, start - MAX_LOG_SNR)
    first, last = max(first, end), min(last, start)
    values = torch.linspace(first, last, _at_least_one(num_steps), dtype=torch.float64)
    return torch.cat([time_at(schedule, values), torch.zeros(1, dtype=torch.float64)])


def time_at(schedule: Schedule, log_snr: Tensor) -> Tensor:
    """The t where λ(t) has these values, by bisection; 0 or 1 where it has not."""
    early = torch.zeros_like(log_snr, dtype=torch.float64)
    late = torch.ones_like(early)
    for _ in range(60):  # more than the bits of a double
        middle = (early + late) / 2
        beyond = schedule(middle) < log_snr
        early, late = torch.where(beyond, early, middle), torch.where(beyond, middle, late)
    return (early + late) / 2


def _at_least_one(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}: a sampler takes at least 1")
    return num_steps
