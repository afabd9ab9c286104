"""Between images through the noise that a denoiser makes them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from visarch.inference.diffusion import arranging, bind, drawing
from visarch.inference.noise import device_of, numbered_normal
from visarch.inference.recipe import Condition, Recipe
from visarch.models.unet import Denoiser
from visarch.performance.choices import arrange, memory_format
from visarch.sampling import (
    NO_LABEL,
    SAMPLERS,
    Sampler,
    clip,
    ddim,
    denoiser,
    guide,
    invert,
    log_snr_times,
    slerp,
)

INVERSION_STEPS, INVERSION_ITERATIONS = 50, 3
"""On the way from an image to its noise; the way back has as many steps, of one evaluation each."""

_BATCH = 16


@torch.inference_mode()
def noise_of(model: Denoiser, recipe: Recipe, images: Tensor, condition: Condition) -> Tensor:
    """The noise from which DDIM makes these images, what they are being known.

    Shapes: (b, C, *spatial) on the unit scale → the same, on the model's device.
    """
    x = (2 * images - 1).to(device_of(model))
    network = bind(arranging(model), recipe, condition.to(x.device))
    return invert(
        denoiser(network, recipe.log_snr, recipe.prediction),
        x,
        log_snr_times(INVERSION_STEPS, recipe.log_snr),
        recipe.log_snr,
        iterations=INVERSION_ITERATIONS,
    )


def noise_of_seeds(model: Denoiser, shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """The noise of the first image that `sample` draws from each seed.

    Shapes: (b, *shape), on the model's device.
    """
    noise = torch.cat([numbered_normal("sample", seed, [0], shape) for seed in seeds])
    return noise.to(device_of(model))


@torch.inference_mode()
def interpolate(
    model: Denoiser,
    recipe: Recipe,
    noise: Tensor,
    condition: Condition,
    count: int,
    *,
    inverted: bool,
) -> Tensor:
    """What becomes of the noise on the arc between two, under an embedding u on the line between
    those of their conditions.

    Args:
        model: the denoiser, in eval mode.
        recipe: how it is used.
        noise: of both ends (2, C, *spatial).
        condition: of both ends.
        count: how many images there are on the way, both ends included.
        inverted: whether an image's noise is among them: DDIM then goes back the way it came,
            without guidance; else the recipe's sampler draws, where it is a deterministic one.

    Shapes: (count, C, *spatial) on the unit scale, on the CPU.
    """
    weights = torch.linspace(0, 1, count, device=noise.device)
    start, end = (
        recipe.seen(condition.take(torch.tensor([place])).to(noise.device)) for place in (0, 1)
    )
    sampler: Sampler = ddim if inverted else SAMPLERS[recipe.sampler]
    steps = INVERSION_STEPS if inverted else recipe.steps
    guidance = 0.0 if inverted else recipe.guidance_for(condition)
    limit = None if inverted else clip
    first, last = noise
    images = []
    model = model if inverted else drawing(model, recipe)
    for part in weights.split(_BATCH):
        network = _between(model, start, end, part, guidance)
        denoise = denoiser(network, recipe.log_snr, recipe.prediction, limit=limit)
        x = slerp(first, last, part)
        x = sampler(denoise, x, log_snr_times(steps, recipe.log_snr), recipe.log_snr)
        images.append(((x + 1) / 2).cpu())
    return torch.cat(images)


def deterministic(recipe: Recipe) -> Recipe:
    """The recipe with DPM-Solver++ in place of the one sampler that adds noise on the way."""
    return replace(recipe, sampler="dpm++") if recipe.sampler == "ddpm" else recipe


def _between(
    model: Denoiser, start: Condition, end: Condition, weights: Tensor, guidance: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """The network for images between two conditions (of one image each): 0 is start, 1 end."""
    chosen = memory_format(model, device_of(model), "fp32").value

    def embedded(t: Tensor, condition: Condition) -> Tensor:
        label, vector = (
            None if of is None else of.expand(len(t), *of.shape[1:]) for of in condition
        )
        return model.context(t, label, vector)

    def predict(x: Tensor, t: Tensor, start: Condition, end: Condition) -> Tensor:
        u = torch.lerp(embedded(t, start), embedded(t, end), weights[:, None])
        return model.unet(arrange(x, chosen), u)

    def without(condition: Condition) -> Condition:
        assert condition.labels is not None
        return condition._replace(labels=torch.full_like(condition.labels, NO_LABEL))

    def network(x: Tensor, t: Tensor) -> Tensor:
        output = predict(x, t, start, end)
        if guidance == 0:
            return output
        other, channels = predict(x, t, without(start), without(end)), x.shape[1]
        predicted = guide(output[:, :channels], other[:, :channels], guidance)
        return torch.cat([predicted, output[:, channels:]], dim=1)

    return network
