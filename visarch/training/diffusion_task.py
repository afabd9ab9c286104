"""Diffusion as a task: the loss, a bound on the likelihood, and pictures of what it makes."""

from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from visarch.data import Batch, Data, Split, to_unit
from visarch.data.augmentation import flip
from visarch.inference.diffusion import (
    bind,
    condition_of,
    image_losses,
    mean_loss,
    measure,
    sample,
)
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import Recipe, grid_layout
from visarch.inference.splits import held_out, representatives, spread
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import diffuse, to_data
from visarch.pictures import beside, grid
from visarch.sampling import NO_LABEL, time_at
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.diffusion_defaults import examples, log_snr_shift, takes_vectors
from visarch.training.randomness import StepNoise

_BOUND_IMAGES, _BOUND_TIMES = 200, 2
"""Of how many images at most, and at how many times, the bound is found while training."""
_SHOWN = 8
_SHOWN_LOG_SNR = (6.0, 3.0, 0.0, -3.0, -6.0)


class DiffusionTask:
    """Minimise the mean weighted squared error of what the network predicts of noisy images."""

    name = "diffusion"
    metric: tuple[str, Literal["min", "max"]] = ("loss", "min")
    low_precision = True

    def __init__(self, config: DiffusionTrainConfig, data: Data) -> None:
        assert config.sampling_steps is not None
        assert config.guidance is not None
        self.config, self.levels, self.shape = config, data.levels, data.shape
        scale = data.vector_scale if takes_vectors(config, data) else None
        self.recipe = Recipe(
            prediction=config.prediction,
            schedule=config.schedule,
            shift=log_snr_shift(data),
            weighting=config.weighting,
            sampler=config.sampler,
            steps=config.sampling_steps,
            guidance=config.guidance,
            label_dropout=config.label_dropout,
            vector_mean=None if scale is None else tuple(scale[0].tolist()),
            vector_deviation=None if scale is None else tuple(scale[1].tolist()),
            examples=() if scale is None else tuple(examples(config, data)),
        )

    def facts(self) -> dict[str, Any]:
        return self.recipe.to_dict()

    def loss(
        self, model: nn.Module, batch: Batch, noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of images at times that cover [0, 1] evenly; some are not told their label."""
        assert isinstance(model, Denoiser)
        images, condition = batch.images, condition_of(model, batch)
        if self.config.flip == "yes":
            images = flip(images, noise.integers(2).bool())
        if condition.labels is not None and self.config.label_dropout > 0:
            dropped = noise.uniform() < self.config.label_dropout
            condition = condition._replace(labels=condition.labels.masked_fill(dropped, NO_LABEL))
        x = 2 * to_unit(images, self.levels) - 1
        return image_losses(model, self.recipe, x, condition, noise).mean(), {}

    def evaluate(self, model: nn.Module, split: Split, noise: StepNoise) -> dict[str, float]:
        """The loss of all images, and the bound on the likelihood of some."""
        assert isinstance(model, Denoiser)
        loss = mean_loss(model, self.recipe, split, self.levels, noise)
        some = split.take(split.name, representatives(len(split), _BOUND_IMAGES))
        bound = measure(model, self.recipe, some, self.levels, noise, num_times=_BOUND_TIMES)
        return {"loss": loss, "bits/dim": dict(bound)["bits/dim"]}

    def pictures(self, model: nn.Module, data: Data) -> dict[str, Image.Image]:
        """Samples, and what the network makes of held-out images under more and more noise."""
        assert isinstance(model, Denoiser)
        columns, count = grid_layout(model, self.recipe)
        drawn = sample(model, self.recipe, self.shape, range(count), self.config.seed)
        return {
            "samples": grid(drawn.images, columns),
            "denoised": self._denoised(model, held_out(data)),
        }

    def _denoised(self, model: Denoiser, split: Split) -> Image.Image:
        """Rows of noisy images, each above what the network takes them for; the first is clean."""
        device = next(model.parameters()).device
        batch = split.read(torch.tensor(spread(len(split), _SHOWN))).to(device)
        x = 2 * to_unit(batch.images, self.levels) - 1
        noise = numbered_normal("denoised", self.config.seed, range(len(x)), x.shape[1:]).to(device)
        network = bind(model, self.recipe, condition_of(model, batch).to(device))
        noisy, denoised = [], []
        for value in _SHOWN_LOG_SNR:
            log_snr = torch.full((len(x),), value, device=device)
            time = time_at(self.recipe.log_snr, torch.tensor(value)).to(x).expand(len(x))
            x_t = diffuse(x, noise, log_snr)
            output = network(x_t, time)[:, : x.shape[1]].float()
            noisy.append(x_t)
            denoised.append(to_data(output, x_t, log_snr, self.recipe.prediction))
        above, below = ((torch.cat(rows) + 1) / 2 for rows in (noisy, denoised))
        return beside(above.cpu(), below.cpu(), len(x))
