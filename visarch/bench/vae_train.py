"""Training steps of the Gaussian VAE, beside pythae's around the same networks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from visarch.bench.harness import EXACT, LOW_PRECISION, Agreement, Contender, Race, Work, agree
from visarch.bench.peers import pythae
from visarch.bench.steps import OurStep, PeerStep, digits, in_eval, unit_images
from visarch.models.config import VAEConfig
from visarch.models.vae import GaussianVAE
from visarch.training.vae import VAETrainConfig
from visarch.training.vae_task import VAETask

_LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class VAETrain:
    """The ELBO of digits of 28 × 28 with σ = 1, as pythae has it, and Adam at 1e-4."""

    packages: ClassVar = ("pythae",)

    batch_size: int = 64
    config: VAEConfig = VAEConfig(sigma="constant", initial_sigma=1.0)

    def races(self) -> Iterator[Race]:
        channels, side, _ = self.config.image_shape
        data = digits(side=side, channels=channels)
        settings = VAETrainConfig(
            data="digits", batch_size=self.batch_size, learning_rate=_LEARNING_RATE, shift=0
        )
        plain = GaussianVAE(self.config).eval()
        x = torch.rand(4, *data.shape)

        def reconstruction(theirs: Any) -> Tensor:
            return in_eval(theirs.decoder, in_eval(theirs.encoder, x).embedding).reconstruction

        @torch.no_grad()
        def copied() -> Iterator[Agreement]:
            theirs = reconstruction(pythae.vae(plain))
            yield agree("pythae's with our weights, all fp32", plain(x)[0], theirs, EXACT)

        def ours() -> Work:
            task = VAETask(settings, data.levels)
            step = OurStep(task, plain, data.splits["train"], settings)
            return Work(step, lambda: in_eval(step.model, x)[0])

        def theirs() -> Work:
            model = pythae.vae(plain)

            def loss(images: Tensor) -> Tensor:
                return model({"data": images}).loss

            optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
            step = PeerStep(model, loss, optimizer, (unit_images(data),), settings)
            return Work(step, lambda: reconstruction(model))

        yield Race(
            f"batch {self.batch_size}",
            Contender("visarch", ours, "prepare(model, training=True), fused AdamW, PowerEma"),
            (
                Contender(
                    "pythae, eager fp32",
                    theirs,
                    "the same encoder and decoder, Adam, clipping and torch's moving average",
                    tolerance=LOW_PRECISION,
                    bar=3,
                ),
            ),
            count=self.batch_size,
            check=copied,
        )
