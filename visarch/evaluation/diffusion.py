"""How well a diffusion model explains images: a bound on their likelihood, and errors by noise.

The model that is measured samples in T steps, t_i = i/T: from noise at t_T it takes ancestral steps
down to some t_j, and draws the image from there at once. In nats of each image,

    −log p(x) ≤ KL(q(x_{t_T} | x) ‖ N(0, I))                                              prior
              + Σ_{i > j} E KL(q(x_{t_{i−1}} | x_{t_i}, x) ‖ p(x_{t_{i−1}} | x_{t_i}))    diffusion
              − E log p(x | x_{t_j})                                                reconstruction

where p(x | x_t) is the normal distribution around x̂ as wide as the noise, σ/α: of the levels where
there are levels, else its density on the unit scale.

Source: Ho et al. 2020, equation 5; in log-SNR, Kingma et al. 2021.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import log, nan
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from visarch.evaluation.intervals import standard_error
from visarch.objectives.diffusion import (
    Prediction,
    Schedule,
    diffuse,
    to_data,
    variance_fraction,
)
from visarch.objectives.diffusion_bound import discretized_log_likelihood, prior_kl, step_kl
from visarch.objectives.elbo import bits_per_dim, gaussian_log_likelihood

DECODING_WIDTHS = (1 / 512, 1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8)
"""Widths σ/α of the noise from which the image is drawn at once, beside the least there is.

Near t = 0 step i lowers the log-SNR by some 2/i. Where the network cannot tell image from noise, β̃
is too narrow for that: the steps above t_j cost about 1/j nats too much for each number. Steps
finer than a level (1/128 for 8 bits) cost more still, unless the network knows the levels. But the
wider the noise, the more the network knows of the image that p(x | x_{t_j}), as wide as the noise,
does not say.
"""


class Noise(Protocol):
    """What is asked of the noise of a batch: numbers (b, *shape)."""

    def normal(self, *shape: int) -> Tensor: ...
    def uniform(self, *shape: int) -> Tensor: ...


Network = Callable[[Tensor, Tensor], Tensor]
"""x_t (b, C, *spatial) and t (b,) to ε, x or v; labels and vectors are already bound to it."""
Batches = Iterable[tuple[Tensor, Network, Noise]]
"""Images (b, C, *spatial) on −1 … 1, at the centers of their levels; network and noise for them."""


class NoiseBand(NamedTuple):
    """Mean squared errors of a network, for each number in an image, between two log-SNRs.

    All are NaN where no image was denoised.
    """

    low: float
    high: float
    num_denoised: int
    """How often an image was denoised."""
    error: dict[Prediction, float]
    """Of ε, x and v; each follows from another, λ by λ, whatever the network predicts."""
    standard_error: dict[Prediction, float]
    """Of these, over the images."""


@dataclass(frozen=True)
class DiffusionMeasurement:
    """What was measured over a set of images; iterate over it for (name, value)."""

    num_dims: int
    """D: numbers in one image."""
    levels: int | None
    """Values a pixel can have; none where they are continuous."""
    num_steps: int
    """T."""
    decoding_step: int
    """j: of those tried, the one with the best mean bound."""
    prior: Tensor
    """KL to the prior of each image (n,)."""
    diffusion: Tensor
    """Unbiased estimate of the sum over the steps, for each image (n,)."""
    reconstruction: Tensor
    """log p(x | x_{t_j}) of each image (n,)."""
    log_snr_range: tuple[float, float]
    """λ at t_T and t_1."""
    log_snr: Tensor
    """λ at which an image was denoised (n, K): evenly spread over that range."""
    squared_error: Tensor
    """Mean squared error of x̂ there (n, K)."""

    @property
    def num_images(self) -> int:
        """n: how many images were measured."""
        return len(self.prior)

    @property
    def bound(self) -> Tensor:
        """ELBO of each image (n,)."""
        return self.reconstruction - self.diffusion - self.prior

    def __iter__(self) -> Iterator[tuple[str, float]]:
        for name, nats in self._costs().items():
            yield name, self._bits(float(nats.mean()))
        yield "ELBO", float(self.bound.mean())

    def standard_errors(self) -> dict[str, float]:
        """Standard errors, over images, times and noise, of the values; NaN for a single image."""
        errors = {name: self._bits(standard_error(nats)) for name, nats in self._costs().items()}
        return errors | {"ELBO": standard_error(self.bound)}

    def bands(self, count: int = 10) -> list[NoiseBand]:
        """The range of log-SNR in bands of equal width, from noise to clean."""
        low, high = self.log_snr_range
        edges = torch.linspace(low, high, count + 1, dtype=torch.float64)
        band = torch.bucketize(self.log_snr, edges[1:-1], right=True)
        errors: dict[Prediction, Tensor] = {
            "epsilon": self.squared_error * self.log_snr.exp(),
            "x0": self.squared_error,
            "v": self.squared_error / (-self.log_snr).sigmoid(),
        }
        bands = []
        for number in range(count):
            within = band == number
            means = {name: _mean(error, within) for name, error in errors.items()}
            bands.append(
                NoiseBand(
                    low=float(edges[number]),
                    high=float(edges[number + 1]),
                    num_denoised=int(within.sum()),
                    error={name: mean for name, (mean, _) in means.items()},
                    standard_error={name: spread for name, (_, spread) in means.items()},
                )
            )
        return bands

    def _costs(self) -> dict[str, Tensor]:
        """−log p(x) at most, and what it is made of, in nats of each image."""
        return {
            "bits/dim": -self.bound,
            "prior bits/dim": self.prior,
            "diffusion bits/dim": self.diffusion,
            "reconstruction bits/dim": -self.reconstruction,
        }

    def _bits(self, cost: float) -> float:
        return bits_per_dim(-cost, self.num_dims, None)  # the levels are in the reconstruction


@torch.no_grad()
def measure_diffusion(
    batches: Batches,
    schedule: Schedule,
    prediction: Prediction,
    *,
    levels: int | None,
    learned_variance: bool = False,
    num_steps: int = 1000,
    num_times: int = 20,
) -> DiffusionMeasurement:
    """Measure a diffusion model on images, each of them at some of its T steps.

    Each image takes K network evaluations for the sum over the steps, and one for each decoding
    step tried.

    Args:
        batches: images, networks and noise.
        schedule: λ(t) that the network was trained with.
        prediction: what its output means.
        levels: values a pixel can have.
        learned_variance: the output has twice the channels; the second half is the variance's.
        num_steps: T; what is computed does not grow with it.
        num_times: K.

    Raises:
        ValueError: if there are no images, T < 2 or K < 1.
    """
    if num_steps < 2 or num_times < 1:
        raise ValueError(
            f"num_steps is {num_steps} and num_times is {num_times}: there must be at least "
            "2 steps and 1 time"
        )
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    process = _Process(times, schedule(times), prediction, learned_variance, levels)
    tried = process.decoding_steps()
    parts: list[tuple[Tensor, ...]] = []
    shape = None
    for x, network, noise in batches:
        shape = x.shape[1:]
        steps, terms, errors = process.diffusion(x, network, noise, num_times)
        diffusions = [(terms * (steps > decoding)).sum(1) for decoding in tried]
        reconstructions = [process.reconstruction(x, network, noise, step) for step in tried]
        prior = prior_kl(x, process.log_snr[-1].to(x)).cpu().double()
        columns = torch.stack(diffusions, 1), torch.stack(reconstructions, 1)
        parts.append((prior, *columns, process.log_snr[steps - 1], errors))
    if shape is None:
        raise ValueError("there are no images to measure the diffusion model on")
    prior, diffusion, reconstruction, log_snr, squared_error = map(
        torch.cat, zip(*parts, strict=True)
    )
    best = int((reconstruction - diffusion).mean(0).argmax())
    return DiffusionMeasurement(
        num_dims=shape.numel(),
        levels=levels,
        num_steps=num_steps,
        decoding_step=tried[best],
        prior=prior,
        diffusion=diffusion[:, best],
        reconstruction=reconstruction[:, best],
        log_snr_range=(float(process.log_snr[-1]), float(process.log_snr[0])),
        log_snr=log_snr,
        squared_error=squared_error,
    )


class _Process(NamedTuple):
    """The generative model but for its network; results are float64 on the CPU."""

    times: Tensor
    """t_1 … t_T, float64 on the CPU."""
    log_snr: Tensor
    """λ there; steps count from 1."""
    prediction: Prediction
    learned_variance: bool
    levels: int | None

    def decoding_steps(self) -> list[int]:
        """The first step, and the first at which the noise has each of the widths."""
        widths = (-0.5 * self.log_snr).exp()
        steps = torch.searchsorted(widths, torch.tensor(DECODING_WIDTHS, dtype=widths.dtype)) + 1
        return sorted({1, *(step for step in steps.tolist() if step < len(widths))})

    def diffusion(
        self, x: Tensor, network: Network, noise: Noise, num_times: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, their terms, weighed so that they sum up to all steps', and errors of x̂ (b, K)."""
        steps, weights = _draw_steps(self.log_snr, noise.uniform(num_times).cpu().double())
        terms, errors = [], []
        for step in steps.unbind(1):
            estimate, fraction = self._denoise(x, network, noise, step)
            t, s = self.log_snr[step - 1].to(x), self.log_snr[step - 2].to(x)
            terms.append(step_kl(x, estimate, t, s, fraction))
            errors.append((x - estimate).square().flatten(1).mean(1))
        return (
            steps,
            weights * torch.stack(terms, 1).cpu().double(),
            torch.stack(errors, 1).cpu().double(),
        )

    def reconstruction(self, x: Tensor, network: Network, noise: Noise, step: int) -> Tensor:
        """log p(x | x_t) of the levels, or of the density on the unit scale (b,)."""
        estimate, _ = self._denoise(x, network, noise, torch.full((len(x),), step))
        width = (-0.5 * self.log_snr[step - 1]).exp().to(x)
        if self.levels is not None:
            nats = discretized_log_likelihood(x, estimate, width, self.levels)
        else:
            halved = x[0].numel() * log(2)  # the unit scale is half as long as −1 … 1
            nats = gaussian_log_likelihood(x, estimate, width, x.ndim - 1) + halved
        return nats.cpu().double()

    def _denoise(
        self, x: Tensor, network: Network, noise: Noise, step: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """x̂ from x at each image's step, and where the variance lies between β̃ and β."""
        log_snr = self.log_snr[step - 1].to(x)
        x_t = diffuse(x, noise.normal(*x.shape[1:]).to(x), log_snr)
        output = network(x_t, self.times[step - 1].to(x)).to(x)
        if not self.learned_variance:
            return to_data(output, x_t, log_snr, self.prediction), 0.0
        output, variance = output.chunk(2, dim=1)
        estimate = to_data(output, x_t, log_snr, self.prediction)
        return estimate, variance_fraction(variance)


def _draw_steps(log_snr: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Steps 2 … T for each image, and weights with which a sum over these is one over all steps.

    They are drawn evenly in log-SNR, where their terms differ least: one from each of K equal parts
    of the range, in proportion to how far a step goes.

    Shapes: λ (T,), uniform (b, K) → both (b, K).
    """
    ends = log_snr[0] - log_snr[1:]  # (T − 1,): how far down step i has come
    lengths = log_snr[:-1] - log_snr[1:]
    num_times = uniform.shape[1]
    place = (torch.arange(num_times) + uniform) / num_times * ends[-1]
    index = torch.searchsorted(ends, place, right=True).clamp(max=len(ends) - 1)
    return index + 2, ends[-1] / (num_times * lengths[index])


def _mean(values: Tensor, chosen: Tensor) -> tuple[float, float]:
    """Mean of the chosen values (n, K), and its standard error with rows as what is independent."""
    if not chosen.any():
        return nan, nan
    mean = values[chosen].mean()
    rows = ((values - mean) * chosen).sum(1)
    return float(mean), float(rows.square().sum().sqrt() / chosen.sum())
