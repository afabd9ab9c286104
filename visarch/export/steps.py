"""A sampler as a matrix, so that a graph can hold it as a loop.

Without noise of their own, all samplers do the same: each x that the network is shown, and the
image at the end, is a linear combination of the noise and of the estimates x̂ so far. The
coefficients depend on the times alone. They are read off the sampler itself, by running it on unit
vectors.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from visarch.objectives.diffusion import Schedule
from visarch.sampling import Sampler


class Steps(NamedTuple):
    """n evaluations of a network, and what is done between them."""

    times: Tensor
    """t of each evaluation (n,)."""
    mixing: Tensor
    """(n + 1, n + 1): row k makes x of the k-th evaluation, or at last the image, out of the noise
    and the n estimates; it is 0 where they are yet to come."""


def steps_of(sampler: Sampler, times: Tensor, schedule: Schedule) -> Steps:
    """What a sampler does along a grid of times, in double precision.

    Raises:
        ValueError: the sampler adds noise.
    """
    basis = torch.eye(2 * len(times), dtype=torch.float64)  # Heun evaluates twice in a step
    seen: list[Tensor] = []
    at: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x[0])
        at.append(t[0])
        return basis[len(seen)].unsqueeze(0)

    image = sampler(denoise, basis[:1], times, schedule)
    mixing = torch.stack([*seen, image[0]])
    return Steps(torch.stack(at), mixing[:, : len(mixing)])
