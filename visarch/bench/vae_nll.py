"""The importance-weighted likelihood of images under a VAE, beside pythae's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visarch.bench.harness import Contender, Race, Work
from visarch.bench.peers import pythae
from visarch.data import Split
from visarch.inference.vae import measure
from visarch.models.config import VAEConfig
from visarch.models.vae import GaussianVAE
from visarch.training.randomness import StepNoise

_MONTE_CARLO = 0.02
"""Of the log-likelihood: either estimate has noise of its own."""
_BATCH = 100
"""Samples that pythae decodes at once, by default; it never takes fewer."""


@dataclass(frozen=True)
class VAENll:
    """1,000 importance samples for each image of 1 × 28 × 28, with σ = 1, as pythae has it."""

    packages: ClassVar = ("pythae",)

    num_images: int = 16
    timed_of_theirs: int = 2
    """So many of the images are put to pythae, which takes them one after the other."""
    num_samples: int = 1000
    config: VAEConfig = VAEConfig(sigma="constant", initial_sigma=1.0)

    def races(self) -> Iterator[Race]:
        plain = GaussianVAE(self.config).eval()
        x = torch.rand(self.num_images, *self.config.image_shape)
        names = [f"image {number}" for number in range(len(x))]

        def ours() -> Work:
            split = Split("images", x, None, names)

            def bound() -> Tensor:
                noise = StepNoise(0, 0, len(x))
                found = measure(plain, split, None, noise, importance_samples=self.num_samples)
                assert found.importance_bound is not None
                return found.importance_bound[: self.timed_of_theirs].mean()

            return Work(bound, bound)

        def theirs() -> Work:
            model = pythae.vae(plain)

            @torch.no_grad()
            def bound() -> Tensor:
                some, batch = x[: self.timed_of_theirs], min(_BATCH, self.num_samples)
                return torch.tensor(model.get_nll(some, self.num_samples, batch))

            return Work(bound, bound)

        yield Race(
            f"{self.num_samples:,} samples for each of {self.num_images} images",
            Contender("visarch", ours, "optimize_for_inference() and measure"),
            (
                Contender(
                    "pythae, eager fp32",
                    theirs,
                    f"get_nll without gradients, of the same encoder and decoder; timed on "
                    f"{self.timed_of_theirs} of the images",
                    repeats=self.num_images // self.timed_of_theirs,
                    tolerance=_MONTE_CARLO,
                    bar=20,
                ),
            ),
            count=self.num_images,
        )
