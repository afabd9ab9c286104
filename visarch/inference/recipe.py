"""How a trained denoiser is to be used: what its training settled, and what images are asked for.

Both are on the scales of the data: a label is a position among the classes, a vector is as it was
given. What the network sees of them is made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from visarch.errors import UserError
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import SCHEDULES, Prediction, Weighting
from visarch.run import Run
from visarch.sampling import NO_LABEL, SamplerName, num_evaluations
from visarch.training.config import from_mapping
from visarch.training.runfolder import TASK

EVALUATIONS = 20
"""Of the network, at most, for an image that is drawn with the steps chosen here."""
_ANCESTRAL_STEPS = 250

DrawingPrecision = Literal["auto", "fp32", "bf16"]
"""Of the network's heavy operations where images are drawn: auto is bf16 where the device has units
for it, fp32 elsewhere."""


class Condition(NamedTuple):
    """What some images are asked to be."""

    labels: Tensor | None = None
    """Classes (n,) int64, −1 for none; for a model without classes none at all."""
    vectors: Tensor | None = None
    """Context vectors (n, v) float32."""

    def take(self, index: Tensor) -> Condition:
        """That of some of the images."""
        return Condition(*(None if of is None else of[index] for of in self))

    def to(self, device: torch.device) -> Condition:
        """The same on a device."""
        return Condition(*(None if of is None else of.to(device) for of in self))

    @property
    def is_labelled(self) -> bool:
        """Whether a class is asked for at all."""
        return self.labels is not None and bool((self.labels != NO_LABEL).any())


@dataclass(frozen=True)
class Recipe:
    """What one must know to use a trained denoiser; kept with its weights in task.json."""

    prediction: Prediction
    """What the network's output means."""
    schedule: str
    """A key of ``SCHEDULES``."""
    shift: float
    """Added to the schedule's log-SNR: below zero for large images."""
    weighting: Weighting
    """Of the loss."""
    sampler: SamplerName
    steps: int
    """Of the sampler, unless another number is asked for."""
    guidance: float
    """w of classifier-free guidance, unless another is asked for."""
    precision: DrawingPrecision = "auto"
    label_dropout: float = 0.0
    """How often no label was told in training; guidance takes some."""
    vector_mean: tuple[float, ...] | None = None
    """Mean and standard deviation of the training vectors, by which the network's are normalized;
    none for a model that takes no vector."""
    vector_deviation: tuple[float, ...] | None = None
    examples: tuple[tuple[int, tuple[float, ...]], ...] = ()
    """Labels and vectors that are asked for where nobody says which; for a model that takes
    vectors."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Recipe:
        """What `to_dict` wrote.

        Raises:
            UserError: it lacks something, or has what this version does not know.
        """
        return from_mapping(cls, settings, place="it")

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"schedule is {self.schedule!r}; there is {', '.join(SCHEDULES)}")
        if self.steps < 1:
            raise UserError(f"steps is {self.steps}; it must be at least 1")
        if self.vector_mean is not None and not self.examples:
            raise UserError("examples of vectors are missing, which vector_mean is of")

    def log_snr(self, t: Tensor) -> Tensor:
        """λ(t): the schedule that the network was trained with."""
        return SCHEDULES[self.schedule](t) + self.shift

    def usual(self, model: Denoiser, numbers: Sequence[int]) -> Condition:
        """What images of these numbers are asked to be where nobody says: the classes in turn, or
        the examples where there are vectors."""
        if self.vector_mean is not None:
            rows = [self.examples[number % len(self.examples)] for number in numbers]
            labels = torch.tensor([label for label, _ in rows])
            vectors = torch.tensor([vector for _, vector in rows])
            return Condition(labels if num_classes(model) else None, vectors)
        if classes := num_classes(model):
            return Condition(torch.tensor([number % classes for number in numbers]))
        return Condition()

    def seen(self, condition: Condition) -> Condition:
        """The condition as the network sees it: with its vectors normalized."""
        vectors = condition.vectors
        if vectors is None or self.vector_mean is None or self.vector_deviation is None:
            return condition
        mean = _tensor(self.vector_mean, vectors.device)
        deviation = _tensor(self.vector_deviation, vectors.device)
        return condition._replace(vectors=(vectors - mean) / deviation)

    def guidance_for(self, condition: Condition) -> float:
        """w, or 0 where no class is asked for that one could be guided to."""
        return self.guidance if condition.is_labelled else 0.0

    def evaluations(self, condition: Condition, rounds: int = 1) -> int:
        """How often the network sees each image while it is drawn."""
        guided = self.guidance_for(condition) != 0
        return rounds * num_evaluations(self.sampler, self.steps, guided=guided)


@lru_cache(maxsize=8)
def _tensor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, where they stay: to move them there has the processor wait."""
    return torch.tensor(values, device=device)


def recipe_of(run: Run[Denoiser]) -> Recipe:
    """What a run keeps with its denoiser.

    Raises:
        UserError: it lacks something.
    """
    try:
        return Recipe.from_dict(run.settings)
    except UserError as error:
        raise UserError(
            f"The {TASK} of {run.source} does not say how the model was trained and is to be "
            f"sampled ({str(error).rstrip('.')}): take the file from where the model came from."
        ) from error


def default_steps(sampler: SamplerName, *, guided: bool) -> int:
    """Steps for at most 20 evaluations of the network, but 250 for ancestral sampling."""
    if sampler == "ddpm":
        return _ANCESTRAL_STEPS
    evaluations = EVALUATIONS // 2 if guided else EVALUATIONS
    return (evaluations + 1) // 2 if sampler == "heun" else evaluations


def num_classes(model: Denoiser) -> int:
    """Classes that a denoiser knows; 0 where it takes no label."""
    label = model.context.label
    return 0 if label is None else label.num_embeddings - 1


def grid_layout(model: Denoiser, recipe: Recipe) -> tuple[int, int]:
    """Columns of the usual grid, and how many images are in it: a column has one thing asked for,
    or several columns have where there are few, unless there are more than 16."""
    kinds = max(1, len(recipe.examples) or num_classes(model))
    columns = kinds * math.ceil(8 / kinds) if kinds <= 16 else 10
    return columns, 8 * columns
