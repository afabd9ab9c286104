"""What `visarch sample` draws from a diffusion model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from visarch.cli.evaluate import Evaluate
from visarch.cli.export import Export
from visarch.cli.sample import Drawn, Plan, Question, Sample
from visarch.errors import UserError
from visarch.inference.asking import asked, drawing_facts, told
from visarch.inference.diffusion import Known, condition_of, sample
from visarch.inference.inpainting import read_known
from visarch.inference.recipe import (
    Condition,
    Recipe,
    default_steps,
    grid_layout,
    num_classes,
    recipe_of,
)
from visarch.models.unet import Denoiser
from visarch.run import Run
from visarch.terminal import progress

_COUNT, _INPAINTED, _ROUNDS = 64, 8, 5
_MOST_FRAMES = 40
_HIDDEN = 0.5
"""The gray of what is made anew, in the picture of what is known."""


def plan_diffusion(question: Question) -> Plan:
    """As many as are asked for, of what is asked for.

    Raises:
        UserError: something is asked for that the model does not know.
    """
    run, flags, seed = question.run.of(Denoiser), question.flags, question.seed
    recipe = with_flags(recipe_of(run), flags)
    count, columns = _layout(run, recipe, flags)
    condition, known = asked(run, recipe, flags.label, flags.vector, count), None
    if flags.inpaint is not None and flags.mask is not None:
        known, condition = _inpainting(run, flags, condition, count)
    check_guidance(run, recipe, flags, condition)
    facts = drawing_facts(run, recipe, condition, seed, known.rounds if known else 1)

    def draw() -> Drawn:
        with progress("drawing", silent=not question.team.is_main) as tell:
            images, film = sample(
                run.model,
                recipe,
                run.preparation.shape,
                range(count),
                seed,
                condition,
                known=known,
                frames=_MOST_FRAMES if flags.film else 0,
                deal=question.team.deal,
                progress=tell,
            )
        return Drawn(
            images,
            said=_said(facts),
            facts_of=lambda number: told(run, condition.take(torch.tensor([number]))),
            film=film if flags.film else None,
            before=None if known is None else _shown(known),
        )

    return Plan(_name(flags, count, seed), facts | told(run, condition), columns, draw)


def with_flags(recipe: Recipe, flags: Sample | Evaluate | Export) -> Recipe:
    """The model's own recipe, with what is asked for."""
    if flags.guidance is not None:
        recipe = replace(recipe, guidance=flags.guidance)
    if flags.sampler is not None and flags.sampler != recipe.sampler:
        steps = default_steps(flags.sampler, guided=recipe.guidance != 0)
        recipe = replace(recipe, sampler=flags.sampler, steps=steps)
    if flags.steps is not None:
        recipe = replace(recipe, steps=flags.steps)
    if isinstance(flags, Export):
        return replace(recipe, precision="fp32")  # what a graph computes in
    return recipe if flags.precision is None else replace(recipe, precision=flags.precision)


def _layout(run: Run[Denoiser], recipe: Recipe, flags: Sample) -> tuple[int, int]:
    """How many pictures, and how many of them in a row."""
    columns, count = grid_layout(run.model, recipe)
    if flags.inpaint is not None:
        count = flags.count or _INPAINTED
        columns = count + 1  # beside what is known
    elif flags.label is not None or flags.vector is not None:
        count = flags.count or _COUNT
        columns = math.ceil(math.sqrt(count))
    elif flags.count is not None:
        count = flags.count
        if not run.model.context.vector_dim and not num_classes(run.model):
            columns = math.ceil(math.sqrt(count))
    return count, flags.columns or columns


def _inpainting(
    run: Run[Denoiser], flags: Sample, condition: Condition, count: int
) -> tuple[Known, Condition]:
    """What is known of the image; and what it is of, unless something else is asked for."""
    assert flags.inpaint is not None
    assert flags.mask is not None
    image, known = read_known(run, flags.inpaint, flags.mask, flags.rounds or _ROUNDS)
    if flags.vector is not None:
        image.vectors = torch.tensor([flags.vector])
    own = condition_of(run.model, image).take(torch.zeros(count, dtype=torch.int64))
    return known, own if flags.label is None else own._replace(labels=condition.labels)


def check_guidance(
    run: Run[Denoiser], recipe: Recipe, flags: Sample | Evaluate, condition: Condition
) -> None:
    """That the guidance which is asked for has a label to lead towards, and none to lead away from.

    Raises:
        UserError: it has not.
    """
    if not flags.guidance:
        return
    asks = f"--guidance {flags.guidance:g} leads towards a label"
    if not condition.is_labelled:
        way_out = "leave it out"
        if num_classes(run.model) and isinstance(flags, Sample):
            way_out = "add --label, or leave it out"
        raise UserError(f"{asks}, and none is asked for: {way_out}.")
    if recipe.label_dropout == 0:
        raise UserError(
            f"{asks} and away from none, and {run.source} was trained with --label-dropout 0, so "
            "that it does not know what none is: leave it out."
        )


def _name(flags: Sample, count: int, seed: int) -> str:
    """Of the file: with what was asked for, so that nothing else is overwritten."""
    inpainted = None if flags.inpaint is None else f"inpainted {Path(flags.inpaint).stem}"
    parts = [inpainted or "samples", str(count), "seed", str(seed)]
    if flags.label is not None:
        parts += ["label", *flags.label]
    if flags.vector is not None:
        parts += ["vector", *(f"{number:g}" for number in flags.vector)]
    if flags.sampler is not None:
        parts.append(flags.sampler)
    for name in ("steps", "guidance", "rounds"):
        if (value := getattr(flags, name)) is not None:
            parts += [name, f"{value:g}"]
    if flags.precision is not None:
        parts.append(flags.precision)
    return " ".join(parts)


def _said(facts: dict[str, str]) -> str:
    guidance = "" if facts["guidance"] == "0" else f" with guidance {facts['guidance']}"
    return (
        f" by {facts['sampler']} in {facts['steps']} steps{guidance}, "
        f"{facts['evaluations']} evaluations of the network for each in {facts['precision']}"
    )


def _shown(known: Known) -> torch.Tensor:
    """The picture of what is known."""
    return torch.where(known.mask, known.image, _HIDDEN).unsqueeze(0)
