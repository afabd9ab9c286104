"""What a trained denoiser is used for: to draw images, and to be measured.

Images go in as a split holds them, and come out on the unit scale, on the CPU; network and
diffusion work on the scale −1 … 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from visarch.data import Batch, Split, to_unit
from visarch.data.reading import Progress
from visarch.data.splitting import spread
from visarch.errors import UserError
from visarch.evaluation.diffusion import DiffusionMeasurement, measure_diffusion
from visarch.inference.noise import device_of, numbered_normal
from visarch.inference.processes import Deal, alone
from visarch.inference.recipe import Condition, Recipe, num_classes
from visarch.inference.splits import first_image
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import diffuse, diffusion_loss, log_snr_and_rate, stratified_times
from visarch.objectives.diffusion_bound import hybrid_loss
from visarch.performance.choices import arrange, memory_format
from visarch.performance.inference import choose_precision
from visarch.sampling import (
    NO_LABEL,
    SAMPLERS,
    clip,
    denoiser,
    guided,
    inpainted,
    log_snr_times,
    repaint,
)
from visarch.training.randomness import StepNoise

BOUND_STEPS = 1000
"""T of the variational bound, and of the steps whose variances are learned."""

_SAMPLE_BATCH, _SAMPLE_BATCH_ON_CPU = 64, 16
_BATCH, _MOST_NUMBERS = 100, 2**20
"""Of a batch that is measured: images, and numbers in all of them."""

Network = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""(x, t, label, vector) to what is predicted: a denoiser, or a function of one."""
Seen = Callable[[Tensor], None]


class Drawn(NamedTuple):
    """Images, and the way there, on the unit scale."""

    images: Tensor
    """(n, C, *spatial)."""
    film: Tensor
    """(frames, n, C, *spatial), from noise to what was drawn."""


@dataclass(frozen=True)
class Known:
    """An image of which a part is kept, and the rest made anew."""

    image: Tensor
    """(C, *spatial) on the unit scale."""
    mask: Tensor
    """True where it is kept: (1, *spatial)."""
    rounds: int = 1
    """How often each step is gone over, to fit the new part to the old one."""


@torch.inference_mode()
def sample(
    model: Denoiser,
    recipe: Recipe,
    shape: Sequence[int],
    numbers: Sequence[int],
    seed: int,
    condition: Condition | None = None,
    *,
    known: Known | None = None,
    frames: int = 0,
    deal: Deal = alone,
    progress: Progress = lambda done, total: None,
    seen: Seen | None = None,
) -> Drawn:
    """New images of these numbers.

    Image number k depends on model, recipe, seed, k and its condition alone: to the last bit on one
    machine, since whole batches are drawn whatever the others are. The recipe's precision is that
    of the network; the sampler itself computes in fp32.

    Args:
        model: the denoiser, in eval mode.
        recipe: prediction and schedule that it was trained with; sampler, steps and guidance to
            draw with.
        shape: (C, *spatial).
        numbers: which images.
        seed: where the noise comes from.
        condition: what they are asked to be, one for each; by default the recipe's usual.
        known: what of them is known already.
        frames: of the film, at most; 0 for none.
        deal: how batches are shared by processes.
        progress: is called with (images drawn, images there are to draw).
        seen: is shown each frame of the film as soon as it is there, batch by batch.
    """
    condition = recipe.usual(model, numbers) if condition is None else condition
    guidance, device = recipe.guidance_for(condition), device_of(model)
    size, done = _SAMPLE_BATCH_ON_CPU if device.type == "cpu" else _SAMPLE_BATCH, 0
    network = arranging(drawing(model, recipe))

    def draw(places: Tensor) -> Drawn:
        nonlocal done
        whole = places[torch.arange(size).clamp(max=len(places) - 1)]  # filled up with the last
        predict = bind(network, recipe, condition.take(whole).to(device), guidance)
        own = [numbers[place] for place in whole.tolist()]

        def show(x: Tensor) -> None:
            if seen is not None:
                seen(_unit(x[: len(places)]))

        drawn = _draw(device, recipe, predict, shape, own, seed, known, frames, show)
        done += len(places)
        progress(done, len(numbers))
        return Drawn(drawn.images[: len(places)], drawn.film[:, : len(places)])

    parts = deal(torch.arange(len(numbers)).split(size), draw)
    images, films = zip(*parts, strict=True)
    return Drawn(torch.cat(images), torch.cat(films, 1))


def _draw(
    device: torch.device,
    recipe: Recipe,
    predict: Callable[[Tensor, Tensor], Tensor],
    shape: Sequence[int],
    numbers: Sequence[int],
    seed: int,
    known: Known | None,
    frames: int,
    show: Seen,
) -> Drawn:
    """One batch."""

    def normal(purpose: str) -> Tensor:
        values = numbered_normal(purpose, seed, numbers, shape)
        if device.type == "cuda":
            values = values.pin_memory()  # or copying it would have the processor wait
        return values.to(device, non_blocking=True)

    def watch(step: int, x: Tensor, data: Tensor) -> None:
        if step in filmed:
            keep(x)

    def keep(x: Tensor) -> None:
        film.append(x)  # it stays on the device: to fetch it would have the processor wait
        show(x)

    denoise = denoiser(predict, recipe.log_snr, recipe.prediction, limit=clip)
    rounds = 1
    if known is not None:
        rounds = known.rounds
        denoise = inpainted(denoise, (2 * known.image - 1).to(device), known.mask.to(device))
    # between two rounds comes a return, which is counted but not told
    told = [
        step * (2 * rounds - 1) + 2 * turn for step in range(recipe.steps) for turn in range(rounds)
    ]
    filmed = {told[-1 - place] for place in spread(len(told), max(0, frames - 1))}
    x = normal("sample")
    film: list[Tensor] = []
    if frames:
        keep(x)
    images = repaint(
        SAMPLERS[recipe.sampler],
        denoise,
        x,
        log_snr_times(recipe.steps, recipe.log_snr),
        recipe.log_snr,
        noise=lambda step: normal(f"sample step {step}"),
        watch=watch,
        rounds=rounds,
    )
    seen = torch.stack(film) if film else images.new_empty(0, *images.shape)
    return Drawn(_unit(images), _unit(seen))


def drawing(model: Denoiser, recipe: Recipe) -> Denoiser:
    """The network that draws: in bf16 a fast copy, in fp32 the model itself."""
    precision = choose_precision(model, recipe.precision)
    return model if precision == "fp32" else model.optimize_for_inference(precision=precision)


def arranging(model: Denoiser) -> Network:
    """A model that is given its images in the memory format that suits it."""
    chosen = memory_format(model, device_of(model), "fp32").value
    return lambda x, t, label, vector: model(arrange(x, chosen), t, label, vector)


def bind(
    network: Network, recipe: Recipe, condition: Condition, guidance: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """The network as a function of x_t and t, with what is asked for bound to it."""
    label, vector = recipe.seen(condition)
    if label is None or guidance == 0:
        return lambda x, t: network(x, t, label, vector)
    return guided(network, label, guidance, vector)


def image_losses(
    network: Network, recipe: Recipe, x: Tensor, condition: Condition, noise: StepNoise
) -> Tensor:
    """The loss of each image of a batch, each at a time of its own.

    Shapes: x (b, C, *spatial) on the scale −1 … 1 → (b,).
    """
    first = noise.rank * noise.batch_size
    t = stratified_times(noise.uniform(), first=first, total=noise.global_batch)
    log_snr, rate = log_snr_and_rate(recipe.log_snr, t)
    epsilon = noise.normal(*x.shape[1:])
    output = bind(network, recipe, condition)(diffuse(x, epsilon, log_snr), t).float()
    prediction, weighting = recipe.prediction, recipe.weighting
    if output.shape == x.shape:
        return diffusion_loss(
            output, x, epsilon, log_snr, rate, prediction=prediction, weighting=weighting
        )
    return hybrid_loss(
        output,
        x,
        epsilon,
        log_snr,
        rate,
        recipe.log_snr((t - 1 / BOUND_STEPS).clamp(min=0)),
        prediction=prediction,
        weighting=weighting,
        num_steps=BOUND_STEPS,
    )


@torch.no_grad()
def mean_loss(
    model: Denoiser, recipe: Recipe, split: Split, levels: int | None, noise: StepNoise
) -> float:
    """The mean loss over a split; the same noise gives the same number."""
    total = torch.zeros((), device=noise.device)
    for x, condition, own in _batches(model, split, levels, noise):
        # times go by the place in the batch, and in a folder so do the classes
        order = own.uniform().argsort()
        shuffled = condition.take(order)
        total += image_losses(arranging(model), recipe, x[order], shuffled, own).sum()
    return float(total) / len(split)


def measure(
    model: Denoiser,
    recipe: Recipe,
    split: Split,
    levels: int | None,
    noise: StepNoise,
    *,
    num_times: int,
    progress: Progress = lambda done, total: None,
) -> DiffusionMeasurement:
    """Measure a denoiser on a whole split; the same noise gives the same numbers.

    ``progress`` is called with (images measured, images there are).
    """

    def batches() -> Iterator[tuple[Tensor, Callable[[Tensor, Tensor], Tensor], StepNoise]]:
        done = 0
        for x, condition, own in _batches(model, split, levels, noise):
            yield x, bind(arranging(model), recipe, condition), own
            done += len(x)
            progress(done, len(split))

    return measure_diffusion(
        batches(),
        recipe.log_snr,
        recipe.prediction,
        levels=levels,
        learned_variance=model.unet.config.out_channels == 2 * model.unet.config.in_channels,
        num_steps=BOUND_STEPS,
        num_times=num_times,
    )


def condition_of(model: Denoiser, images: Batch | Split) -> Condition:
    """What images are, as far as the model takes it.

    Raises:
        UserError: the model takes vectors, and there are none, or of another length.
    """
    labels, vectors = images.labels, images.vectors
    if not num_classes(model):
        labels = None
    elif labels is None:
        labels = torch.full((len(images),), NO_LABEL)
    length = model.context.vector_dim
    if length is None:
        return Condition(labels)
    if vectors is None or vectors.shape[1] != length:
        there = "have none" if vectors is None else f"have {vectors.shape[1]}"
        raise UserError(
            f"The model takes a context vector of {length} numbers with each image, and these "
            f"images {there}."
        )
    return Condition(labels, vectors)


def _batches(
    model: Denoiser, split: Split, levels: int | None, noise: StepNoise
) -> Iterator[tuple[Tensor, Condition, StepNoise]]:
    """Images of a split on the scale −1 … 1, what they are, and noise of their own."""
    size = first_image(split).numel()
    batch_size = max(1, min(_BATCH, _MOST_NUMBERS // size))
    for number, indices in enumerate(torch.arange(len(split)).split(batch_size)):
        batch = split.read(indices).to(noise.device)
        x = 2 * to_unit(batch.images, levels) - 1
        condition = condition_of(model, batch).to(noise.device)
        yield x, condition, noise.fork(number, len(indices))


def _unit(x: Tensor) -> Tensor:
    """From the scale −1 … 1 to the unit scale, on the CPU."""
    return ((x + 1) / 2).cpu()
