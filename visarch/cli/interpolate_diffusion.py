"""The way of `visarch interpolate` through the noise of a diffusion model."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from visarch.cli.interpolate import Interpolate, Question, Way
from visarch.data import to_unit
from visarch.errors import UserError
from visarch.inference.asking import asked, class_name
from visarch.inference.diffusion import condition_of
from visarch.inference.noise_space import (
    INVERSION_STEPS,
    deterministic,
    interpolate,
    noise_of,
    noise_of_seeds,
)
from visarch.inference.picking import pick
from visarch.inference.recipe import Condition, recipe_of
from visarch.inference.splits import first_image
from visarch.models.unet import Denoiser
from visarch.run import Run

_SEED = re.compile(r"seed:(\d+)")


def walk_diffusion(question: Question) -> Way:
    """What is made of the noise on the arc from that of a to that of b; their labels and vectors
    enter as embeddings on the line between them.

    Raises:
        UserError: one end is a seed and the other is not, or something that the model does not know
            is asked for.
    """
    run, flags = question.run.of(Denoiser), question.flags
    recipe = deterministic(recipe_of(run))
    given = asked(run, recipe, flags.label, flags.vector, 2)
    seeds = [_SEED.fullmatch(end) for end in (flags.a, flags.b)]
    if all(seeds):
        ends = None
        condition = given.take(torch.tensor([0, 0])) if flags.label is None else given
        numbers = [int(seed[1]) for seed in seeds if seed]
        noise = noise_of_seeds(run.model, run.preparation.shape, numbers)
        names = flags.a, flags.b
        facts = {"sampler": recipe.sampler, "steps": str(recipe.steps)}
        facts["guidance"] = f"{recipe.guidance_for(condition):g}"
    elif any(seeds):
        raise UserError(
            f"{flags.a} and {flags.b}: the way leads from seed to seed or from image to image."
        )
    else:
        condition, ends, names = _images(run, flags, given)
        noise = noise_of(run.model, recipe, ends, condition)
        facts = {"sampler": "ddim", "steps": str(INVERSION_STEPS), "guidance": "0"}
    images = interpolate(
        run.model, recipe, noise, condition, flags.steps, inverted=ends is not None
    )
    said = f" by {facts['sampler']} in {facts['steps']} steps"
    if condition.labels is not None:
        facts["label"] = " to ".join(class_name(run, label) for label in condition.labels.tolist())
        said += f", label {facts['label']}"
    return Way(images, ends, names, facts, said)


def _images(
    run: Run[Denoiser], flags: Interpolate, given: Condition
) -> tuple[Condition, Tensor, tuple[str, str]]:
    """What the two images are, as far as it is known or asked for; themselves, and their names."""
    a, b = pick(run, (flags.a, flags.b))
    if flags.vector is not None:
        a.vectors = b.vectors = torch.tensor([flags.vector])
    own = zip(condition_of(run.model, a), condition_of(run.model, b), strict=True)
    condition = Condition(*(None if x is None or y is None else torch.cat([x, y]) for x, y in own))
    if flags.label is not None:
        condition = condition._replace(labels=given.labels)
    images = torch.cat([first_image(a), first_image(b)])
    return condition, to_unit(images, run.preparation.levels), (a.names[0], b.names[0])
