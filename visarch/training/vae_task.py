"""The Gaussian VAE as a task: Algorithm 1's loss, its metrics, and pictures of what it knows."""

from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from visarch.data import Batch, Data, Split, dequantize, to_unit
from visarch.data.augmentation import shift
from visarch.inference.splits import held_out, spread
from visarch.inference.vae import interpolate, measure, reconstruct, sample
from visarch.models.vae import GaussianPosterior, GaussianVAE
from visarch.objectives.elbo import elbo
from visarch.pictures import beside, drawn, grid
from visarch.training.randomness import StepNoise
from visarch.training.vae import VAETrainConfig

_TRAVERSED = 250
"""How many images tell which latents are the liveliest."""


class VAETask:
    """Algorithm 1 (lecture): minimise the negative ELBO, per dimension, averaged over the batch."""

    name = "vae"
    metric: tuple[str, Literal["min", "max"]] = ("bits/dim", "min")
    low_precision = False

    def __init__(self, config: VAETrainConfig, levels: int | None) -> None:
        self.config, self.levels = config, levels

    def facts(self) -> dict[str, Any]:
        return {}

    def loss(
        self, model: nn.Module, batch: Batch, noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """−ELBO / D of one posterior sample per image, in nats per dimension."""
        assert isinstance(model, GaussianVAE)
        images = self._augment(batch.images, noise) if model.training else batch.images
        x = dequantize(images, self.levels, noise.uniform(*images.shape[1:]))
        mean, sigma, posterior = model(x, noise.normal(model.config.latent_dim))
        posterior = GaussianPosterior(posterior.mean.float(), posterior.scale.float())
        terms = elbo(x, mean.float(), sigma.float(), posterior.kl())

        num_dims = x[0].numel()
        weight = min(1.0, (noise.step + 1) / max(1, self.config.kl_warmup_steps))
        loss = (weight * terms.kl - terms.reconstruction).mean() / num_dims
        return loss, {
            "nats/dim": -terms.value.detach().mean() / num_dims,
            "KL": terms.kl.detach().mean(),
            "sigma": sigma.detach().float().mean(),
        }

    def evaluate(self, model: nn.Module, split: Split, noise: StepNoise) -> dict[str, float]:
        """bits/dim, ELBO and its parts, active units."""
        assert isinstance(model, GaussianVAE)
        return dict(measure(model, split, self.levels, noise))

    def pictures(self, model: nn.Module, data: Data) -> dict[str, Image.Image]:
        """Reconstructions beside originals, ways between them, samples, the liveliest latents."""
        assert isinstance(model, GaussianVAE)
        split = held_out(data)
        shown = split.take("shown", spread(len(split), 32))
        many = split.read(torch.tensor(spread(len(split), _TRAVERSED))).images
        posterior = model.encode(to_unit(many.to(next(model.parameters()).device), self.levels))
        return {
            "reconstructions": beside(*reconstruct(model, shown, self.levels)),
            "interpolations": self._interpolations(model, shown),
            "samples": grid(sample(model, 64, self.config.seed), 8),
            "traversal": traversal(model, posterior),
            "latents": latents_chart(posterior),
        }

    def _interpolations(self, model: GaussianVAE, shown: Split, columns: int = 9) -> Image.Image:
        """A row for each pair of neighbors: from the one to the other through the latent space."""
        pairs = range(0, 2 * (min(len(shown), 16) // 2), 2)
        rows = [
            interpolate(model, shown.take("pair", (first, first + 1)), self.levels, columns)
            for first in pairs
        ]
        if not rows:  # a single image is its own neighbor
            rows = [interpolate(model, shown.take("pair", (0, 0)), self.levels, columns)]
        return grid(torch.cat(rows), columns)

    def _augment(self, images: Tensor, noise: StepNoise) -> Tensor:
        reach = self.config.shift
        if reach == 0:
            return images
        return shift(images, noise.integers(2 * reach + 1, images.ndim - 2) - reach)


def traversal(
    model: GaussianVAE, posterior: GaussianPosterior, *, rows: int = 8, columns: int = 9
) -> Image.Image:
    """One row for each of the latents with the most KL: from −3 to 3 around the first image's z."""
    liveliest = posterior.kl_per_dimension().mean(0).argsort(descending=True)[:rows]
    values = torch.linspace(-3, 3, columns, device=posterior.mean.device)
    z = posterior.mean[:1].repeat(len(liveliest) * columns, 1)
    for row, latent in enumerate(liveliest.tolist()):
        z[row * columns : (row + 1) * columns, latent] = values
    return grid(model.decode(z)[0], columns)


def latents_chart(posterior: GaussianPosterior) -> Image.Image:
    """KL of each latent dimension, sorted: how the information is spread."""
    from matplotlib.figure import Figure

    values = posterior.kl_per_dimension().mean(0).sort(descending=True).values.cpu()
    figure = Figure(figsize=(6, 2.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(1, len(values) + 1), values.tolist(), width=1.0, color="#3b6fb6")
    axes.set_xlabel("latent dimension, sorted")
    axes.set_ylabel("KL in nats")
    axes.spines[["top", "right"]].set_visible(False)
    return drawn(figure)
