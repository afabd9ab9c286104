"""What is exported of each kind of model: graphs from raw images, latents or noise to answers.

A graph takes images as they are kept in files, of any size where they are pictures, and holds their
preparation; it gives images in the same form. (In memory they are (b, C, height, width) as
everywhere in PyTorch and in ONNX's own operators.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan

from visarch.data import Preparation, to_unit
from visarch.errors import UserError
from visarch.export.resampling import fit
from visarch.export.steps import steps_of
from visarch.inference.classifier import class_names
from visarch.inference.generated import store
from visarch.inference.recipe import Recipe, num_classes
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.outputs import to_values
from visarch.run import Run
from visarch.sampling import SAMPLERS, clip, denoiser, guided, log_snr_times

BATCH = "batch"
_SIDES = ("height", "width")


@dataclass(frozen=True)
class Graph:
    """One graph, before it is traced."""

    name: str
    """Of the file."""
    module: nn.Module
    """Takes the first input, and the others by name; gives one tensor, or one for each output."""
    inputs: Mapping[str, Tensor]
    """An example of each."""
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]]
    """Which axes of the inputs may have any length, and what they are called."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What belongs into the file beside what all of them tell."""


def classifier(run: Run[ResNet]) -> Graph:
    """Images to the probability of each class; to features for a network without classes."""
    if run.model.config.num_classes is None:
        return _of_images("features", Features(run.model, run.preparation), run, ("features",))
    facts = {"classes": class_names(run.model, run.classes, run.source)}
    module = Classifier(run.model, run.preparation)
    return _of_images("classifier", module, run, ("probabilities",), facts)


def encoder(run: Run[GaussianVAE]) -> Graph:
    """Images to the mean of their posterior and its Σ^{1/2}."""
    return _of_images("encoder", Encoder(run.model, run.preparation), run, ("mean", "scale"))


def decoder(run: Run[GaussianVAE]) -> Graph:
    """Latents to images, and to mean and σ of p(x | z) on the unit scale."""
    return Graph(
        "decoder",
        Decoder(run.model, run.preparation),
        {"latents": torch.zeros(2, run.model.config.latent_dim)},
        ("images", "mean", "sigma"),
        {"latents": {0: BATCH}},
    )


def sampler(run: Run[Denoiser], recipe: Recipe) -> Graph:
    """Noise, and what is asked for, to images, and to the same on the unit scale.

    Raises:
        UserError: the recipe's sampler adds noise of its own.
    """
    if recipe.sampler == "ddpm":
        raise UserError(
            "--sampler ddpm adds noise of its own at every step, which no graph can hold: give "
            "--sampler ddim, heun or dpm++, which make images of the same model."
        )
    model = run.model
    facts: dict[str, Any] = {"sampler": recipe.sampler, "steps": recipe.steps}
    inputs = {"noise": torch.zeros(2, *run.preparation.shape)}
    if num_classes(model):
        inputs["label"] = torch.zeros(2, dtype=torch.int64)
        facts["classes"] = run.classes or tuple(map(str, range(num_classes(model))))
    if model.context.vector_dim:
        inputs["vector"] = torch.zeros(2, model.context.vector_dim)
        facts["vector_names"] = run.vector_names
    free = {name: {0: BATCH} for name in inputs}
    if num_classes(model) and recipe.guidance != 0:
        inputs["guidance"], free["guidance"] = torch.tensor(recipe.guidance), {}
        facts["guidance"] = recipe.guidance
    module = Drawing(model, recipe, run.preparation)
    return Graph("sampler", module, inputs, ("images", "unit"), free, facts)


class Classifier(nn.Module):
    """softmax of the classifier's answer to each image."""

    def __init__(self, model: ResNet, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.preparation = model, preparation

    def forward(self, images: Tensor) -> Tensor:
        return self.model(prepared(images, self.preparation)).softmax(1)


class Features(Classifier):
    """The vector representation of each image."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model.features(prepared(images, self.preparation))


class Encoder(nn.Module):
    """Mean and Σ^{1/2} of q(z | x)."""

    def __init__(self, model: GaussianVAE, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.preparation = model.encoder, preparation

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.model(prepared(images, self.preparation))
        return posterior.mean, posterior.scale


class Decoder(nn.Module):
    """p(x | z), and its mean as an image."""

    def __init__(self, model: GaussianVAE, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.preparation = model.decoder, preparation

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, sigma = self.model(latents)
        return to_raw(mean, self.preparation), mean, sigma


class Drawing(nn.Module):
    """A whole sampler: a loop over the evaluations of a network, which it holds once."""

    times: Tensor
    mixing: Tensor
    places: Tensor
    vector_mean: Tensor
    vector_deviation: Tensor

    def __init__(self, model: Denoiser, recipe: Recipe, preparation: Preparation) -> None:
        super().__init__()
        self.model, self.recipe, self.preparation = model, recipe, preparation
        grid = log_snr_times(recipe.steps, recipe.log_snr)
        times, mixing = steps_of(SAMPLERS[recipe.sampler], grid, recipe.log_snr)
        self.register_buffer("times", times.float())
        self.register_buffer("mixing", mixing.float())
        self.register_buffer("places", torch.eye(len(mixing))[1:])  # where each estimate goes
        self.register_buffer("vector_mean", torch.tensor(recipe.vector_mean or 0.0))
        self.register_buffer("vector_deviation", torch.tensor(recipe.vector_deviation or 1.0))

    def forward(
        self,
        noise: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if vector is not None:
            vector = (vector - self.vector_mean) / self.vector_deviation

        def network(x: Tensor, t: Tensor) -> Tensor:
            if label is None or guidance is None:
                return self.model(x, t, label, vector)
            return guided(self.model, label, guidance, vector)(x, t)

        denoise = denoiser(network, self.recipe.log_snr, self.recipe.prediction, limit=clip)

        def evaluate(known: Tensor, step: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            time, row, place = step
            estimate = denoise(_mix(row, known), time.repeat(known.shape[1]))
            data = estimate[0] if isinstance(estimate, tuple) else estimate
            return known + _across(place, known) * data, known.new_zeros(1)

        # (n + 1, b, C, *spatial): the noise, and room for the estimates
        known = torch.cat(
            [noise.unsqueeze(0), torch.zeros_like(noise).expand(len(self.times), *noise.shape)]
        )
        known, _ = scan(evaluate, known, (self.times, self.mixing[:-1], self.places))
        unit = (_mix(self.mixing[-1], known) + 1) / 2
        return to_raw(unit, self.preparation), unit


def _mix(row: Tensor, known: Tensor) -> Tensor:
    """Σ_j row_j known_j."""
    return (_across(row, known) * known).sum(0)


def _across(row: Tensor, known: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, …), beside (n, b, C, …)."""
    return row.view(-1, *(1,) * (known.ndim - 1))


def prepared(images: Tensor, preparation: Preparation) -> Tensor:
    """Raw images on the unit scale in the model's size, as ``Preparation.apply`` makes them."""
    if preparation.ndim == 2:
        height, width = preparation.shape[1:]
        images = fit(images, (height, width))
    if preparation.levels is not None:
        return to_unit(images, preparation.levels)
    low, high = preparation.floats
    return ((images.double() - low) / (high - low)).float()


def to_raw(unit: Tensor, preparation: Preparation) -> Tensor:
    """Images on the unit scale as raw ones."""
    if preparation.levels is None:
        return to_values(unit, preparation)
    return store(unit, preparation)


def raw(stored: Tensor, preparation: Preparation) -> Tensor:
    """Images as a split holds them as raw ones: levels as they are (uint8, or int32 where there are
    more than 256), continuous values (float32) on the scale of the data."""
    return to_values(stored, preparation) if preparation.levels is None else stored


def _of_images(
    name: str,
    module: nn.Module,
    run: Run[Any],
    outputs: tuple[str, ...],
    facts: Mapping[str, Any] | None = None,
) -> Graph:
    example, free = run.preparation.empty(2).zero_(), {0: BATCH}
    if run.preparation.ndim == 2:
        height, width = run.preparation.shape[1:]
        example = example.new_zeros(2, run.preparation.shape[0], 2 * height + 1, 2 * width + 3)
        free |= {2 + axis: side for axis, side in enumerate(_SIDES)}
    return Graph(name, module, {"images": example}, outputs, {"images": free}, facts or {})
