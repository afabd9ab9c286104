"""From what a person asks for, classes by name and numbers in a vector, to what a model is told."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch

from visarch.errors import UserError
from visarch.inference.picking import is_number
from visarch.inference.recipe import Condition, Recipe, num_classes
from visarch.models.unet import Denoiser
from visarch.performance.inference import choose_precision
from visarch.run import Run
from visarch.sampling import NO_LABEL

NONE = "none"
"""How one asks for no class."""


def asked(
    run: Run[Denoiser],
    recipe: Recipe,
    labels: Sequence[str] | None,
    vector: Sequence[float] | None,
    count: int,
) -> Condition:
    """What so many images are asked to be: of these classes in turn, all with this vector; by
    default what is usual for the model.

    Raises:
        UserError: the model takes no such thing, or knows no such class.
    """
    condition = recipe.usual(run.model, range(count))
    if labels is not None:
        chosen = torch.tensor([position(run, recipe, label) for label in labels])
        condition = condition._replace(labels=chosen[torch.arange(count) % len(chosen)])
    if vector is not None:
        classes = num_classes(run.model)
        if classes and labels is None:
            condition = condition._replace(labels=torch.arange(count) % classes)
        _check_vector(run, vector)
        condition = condition._replace(vectors=torch.tensor([vector]).expand(count, -1))
    return condition


def position(run: Run[Denoiser], recipe: Recipe, label: str) -> int:
    """The class that is called so; or else none, or that number of them, unless some are called by
    numbers themselves.

    Raises:
        UserError: the model takes no labels, or knows no such class.
    """
    count, names = num_classes(run.model), run.classes or ()
    if not count:
        raise UserError(
            f"--label {label}: {run.source} was trained without labels and takes none. Leave it "
            "out, or train on images with labels (and without --conditional no)."
        )
    if label in names:
        return names.index(label)
    if label == NONE and recipe.label_dropout > 0:
        return NO_LABEL
    numbered = any(map(is_number, names))
    if label.isdecimal() and int(label) < count and not numbered:
        return int(label)
    if label == NONE:
        raise UserError(
            f"--label {NONE}: {run.source} was trained with --label-dropout 0, so that it always "
            "takes a label: give one."
        )
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(label.lower(), lower, 3, cutoff=0.4)
    listed = ", ".join(lower[name] for name in near) or ", ".join(names[:10])
    more = f"; nearest: {listed}" if near else f": {listed}{' …' if len(names) > 10 else ''}"
    way_out = "Give a name" if numbered else f"Give a name, or a number from 0 to {count - 1}"
    raise UserError(
        f"--label {label}: {run.source} knows no such class among its {count}{more}. {way_out}."
    )


def class_name(run: Run[Denoiser], label: int) -> str:
    """What a label is called."""
    if label == NO_LABEL:
        return NONE
    return run.classes[label] if run.classes else str(label)


def drawing_facts(
    run: Run[Denoiser], recipe: Recipe, condition: Condition, seed: int, rounds: int = 1
) -> dict[str, str]:
    """How pictures are drawn, as it is kept in their file."""
    return {
        "seed": str(seed),
        "sampler": recipe.sampler,
        "steps": str(recipe.steps),
        "guidance": f"{recipe.guidance_for(condition):g}",
        "evaluations": str(recipe.evaluations(condition, rounds)),
        "precision": choose_precision(run.model, recipe.precision),
    }


def told(run: Run[Denoiser], condition: Condition) -> dict[str, str]:
    """What was asked for, as it is kept beside these; of several things, in turn."""
    facts = {}
    if condition.labels is not None:
        names = [class_name(run, label) for label in condition.labels.tolist()]
        facts["label"] = ", ".join(dict.fromkeys(names))
    if condition.vectors is not None:
        vectors = [" ".join(f"{x:g}" for x in vector) for vector in condition.vectors.tolist()]
        facts["vector"] = ", ".join(dict.fromkeys(vectors))
    return facts


def _check_vector(run: Run[Denoiser], vector: Sequence[float]) -> None:
    typed, length = " ".join(f"{number:g}" for number in vector), run.model.context.vector_dim
    if length is None:
        raise UserError(
            f"--vector {typed}: {run.source} was trained without context vectors and takes none: "
            "leave it out."
        )
    if len(vector) != length:
        names = f" ({', '.join(run.vector_names)})" if run.vector_names else ""
        raise UserError(
            f"--vector {typed}: {run.source} takes {length} numbers{names}, not {len(vector)}."
        )
    if not torch.tensor(vector).isfinite().all():
        raise UserError(
            f"--vector {typed}: not all of these are finite numbers of 32 bits, as the data's are: "
            "give others."
        )
