"""What a trained Gaussian VAE is used for: to measure, sample, reconstruct, interpolate, embed.

Images go in as a split holds them, and come out on the unit scale, on the CPU.
"""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from visarch.data import Split, dequantize, to_unit
from visarch.data.reading import Progress
from visarch.evaluation.importance import Draw
from visarch.evaluation.vae import VAEMeasurement, measure_vae
from visarch.inference.noise import device_of, numbered_normal
from visarch.models.vae import GaussianPosterior, GaussianVAE
from visarch.training.randomness import StepNoise

_BATCH = 250
_SAMPLE_BATCH = 64
_CACHED = 2**21
"""Numbers of an activation that a processor's cache holds beside others."""


def measure(
    model: GaussianVAE,
    split: Split,
    levels: int | None,
    noise: StepNoise,
    *,
    importance_samples: int = 0,
    progress: Progress = lambda done, total: None,
) -> VAEMeasurement:
    """Measure a VAE on a whole split; the same noise gives the same numbers.

    Importance samples are decoded in bf16 where there are units for it.

    ``progress`` is called with (latents decoded, latents there are to decode).
    """
    config = model.config
    done, total = 0, len(split) * (1 + importance_samples)
    fast = model.optimize_for_inference() if importance_samples else model

    def decode_many(z: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal done
        done += len(z)
        progress(done, total)
        return fast.decode(z)

    def batches() -> Iterator[tuple[Tensor, Draw]]:
        nonlocal done
        for number, indices in enumerate(torch.arange(len(split)).split(_BATCH)):
            own = noise.fork(number, len(indices))
            images = split.read(indices).images.to(noise.device)
            x = dequantize(images, levels, own.uniform(*images.shape[1:]))
            yield x, _numbered(own, config.latent_dim)
            done += len(indices)
            progress(done, total)

    return measure_vae(
        model.encode,
        model.decode,
        batches(),
        levels=levels,
        importance_samples=importance_samples,
        decode_many=decode_many,
        at_once=max(1, _CACHED // max(map(prod, (config.grid_shape, config.image_shape)))),
    )


@torch.no_grad()
def sample(model: GaussianVAE, count: int, seed: int, *, noise: bool = False) -> Tensor:
    """New images g(z̃) for z̃ ~ N(0, I), or with ``noise`` x̃ = g(z̃) + σ(z̃) η, η ~ N(0, I).

    Image number k depends on model, seed and k alone: to the last bit on one machine, since whole
    batches are decoded whatever ``count`` is.

    Shapes: (count, C, *spatial).

    Source: lecture, "Recap: The Gaussian VAE".
    """
    images = []
    for first in range(0, count, _SAMPLE_BATCH):
        numbers = range(first, first + _SAMPLE_BATCH)
        z = numbered_normal("sample", seed, numbers, (model.config.latent_dim,))
        mean, sigma = model.decode(z.to(device_of(model)))
        if noise:
            eta = numbered_normal("sample noise", seed, numbers, mean.shape[1:])
            mean = mean + sigma * eta.to(mean)
        images.append(mean.cpu())
    return torch.cat(images)[:count]


@torch.no_grad()
def reconstruct(model: GaussianVAE, split: Split, levels: int | None) -> tuple[Tensor, Tensor]:
    """Images, and what the decoder makes of the mean of their posteriors: g(f(x)).

    Shapes: both (n, C, *spatial).
    """
    originals, reconstructions = [], []
    for x in _unit_batches(model, split, levels):
        mean, _ = model.decode(model.encode(x).mean)
        originals.append(x.cpu())
        reconstructions.append(mean.cpu())
    return torch.cat(originals), torch.cat(reconstructions)


@torch.no_grad()
def interpolate(model: GaussianVAE, ends: Split, levels: int | None, steps: int) -> Tensor:
    """Decoder means along the straight line between the posterior means of two images.

    Shapes: (steps, C, *spatial); first and last are the two images' reconstructions.
    """
    (x,) = _unit_batches(model, ends, levels)
    start, end = model.encode(x).mean
    z = torch.lerp(start, end, torch.linspace(0, 1, steps, device=x.device).unsqueeze(1))
    return torch.cat([model.decode(part)[0].cpu() for part in z.split(_BATCH)])


@torch.no_grad()
def embed(
    model: GaussianVAE,
    split: Split,
    levels: int | None,
    *,
    progress: Progress = lambda done, total: None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations of q(z | x) for each image; of the marginals, where Σ is full.

    ``progress`` is called with (images embedded, images there are).

    Shapes: both (n, Z).
    """
    means, deviations = [], []
    for x in _unit_batches(model, split, levels):
        posterior = model.encode(x)
        means.append(posterior.mean.cpu())
        deviations.append(posterior.variance.sqrt().cpu())
        progress(sum(map(len, means)), len(split))
    return torch.cat(means), torch.cat(deviations)


def information(model: GaussianVAE, split: Split, levels: int | None) -> Tensor:
    """What each latent dimension tells of an image, in nats: the mean of KL(q(z_i | x) ‖ N(0, 1))
    over a split.

    Shapes: (Z,).
    """
    return GaussianPosterior(*embed(model, split, levels)).kl_per_dimension().mean(0)


@torch.no_grad()
def decode(model: GaussianVAE, z: Tensor) -> Tensor:
    """The decoder's means g(z). Shapes: (n, Z) → (n, C, *spatial)."""
    return model.decode(z.to(device_of(model)))[0].cpu()


def _numbered(noise: StepNoise, latent_dim: int) -> Draw:
    """Draws of noise by number; the first is the next one of this noise itself."""
    first = noise.normal(latent_dim)
    return lambda number: (
        noise.fork(number, noise.batch_size).normal(latent_dim) if number else first
    )


def _unit_batches(model: GaussianVAE, split: Split, levels: int | None) -> Iterator[Tensor]:
    """The images of a split on the unit scale, on the model's device."""
    for indices in torch.arange(len(split)).split(_BATCH):
        yield to_unit(split.read(indices).images.to(device_of(model)), levels)
