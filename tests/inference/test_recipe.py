"""What one must know to use a denoiser, and what its images are asked to be."""

from __future__ import annotations

import json

import pytest
import torch

from visarch.errors import UserError
from visarch.inference.recipe import Condition, Recipe, default_steps, grid_layout
from visarch.objectives.diffusion import cosine
from visarch.sampling import num_evaluations

from .denoisers import RECIPE, denoiser, of_vectors, recipe


def test_it_survives_json():
    for told in (RECIPE, of_vectors()):
        assert Recipe.from_dict(json.loads(json.dumps(told.to_dict()))) == told


@pytest.mark.parametrize("lost", ["prediction", "steps"])
def test_what_it_lacks_is_an_error(lost: str):
    settings = RECIPE.to_dict()
    del settings[lost]
    with pytest.raises(UserError, match=lost):
        Recipe.from_dict(settings)


@pytest.mark.parametrize(
    "changed", [{"prediction": "w"}, {"schedule": "square"}, {"steps": 0}, {"invented_later": 1}]
)
def test_what_it_cannot_mean_is_an_error(changed: dict[str, object]):
    with pytest.raises(UserError, match=next(iter(changed))):
        Recipe.from_dict(RECIPE.to_dict() | changed)


def test_the_schedule_is_shifted():
    t = torch.linspace(0, 1, 5)
    assert torch.equal(recipe(shift=-1.5).log_snr(t), cosine(t) - 1.5)


def test_by_default_the_classes_take_turns():
    usual = RECIPE.usual(denoiser(), [0, 1, 2, 3, 7])
    assert usual.labels is not None
    assert usual.labels.tolist() == [0, 1, 2, 0, 1]
    assert RECIPE.usual(denoiser(num_classes=None), range(3)) == Condition()


def test_by_default_vectors_are_the_examples():
    usual = of_vectors().usual(denoiser(vector_dim=2), range(3))
    assert usual.labels is not None
    assert usual.vectors is not None
    assert usual.labels.tolist() == [0, 2, 0]
    assert usual.vectors.tolist() == [[5, -1], [6, 0], [5, -1]]
    assert of_vectors().usual(denoiser(num_classes=None, vector_dim=2), [1]).labels is None


def test_the_network_sees_vectors_normalized():
    condition = Condition(torch.tensor([1, 2]), torch.tensor([[5.0, -1.0], [9.0, 0.0]]))
    seen = of_vectors().seen(condition)
    assert seen.labels is condition.labels
    assert seen.vectors is not None
    assert seen.vectors.tolist() == [[0, 0], [2, 2]]
    assert RECIPE.seen(Condition(condition.labels)) == Condition(condition.labels)


def test_without_a_label_nothing_is_guided():
    assert RECIPE.guidance_for(Condition(torch.tensor([-1, 2]))) == 1
    assert RECIPE.guidance_for(Condition(torch.tensor([-1, -1]))) == 0
    assert RECIPE.guidance_for(Condition()) == 0


def test_default_steps():
    for sampler in ("ddim", "heun", "dpm++"):
        for guided in (True, False):
            steps = default_steps(sampler, guided=guided)
            evaluations = num_evaluations(sampler, steps, guided=guided)
            assert evaluations <= 20 < num_evaluations(sampler, steps + 1, guided=guided)
    assert default_steps("ddpm", guided=True) == 250


@pytest.mark.parametrize(
    ("classes", "columns"), [(None, 8), (1, 8), (3, 9), (5, 10), (10, 10), (16, 16), (100, 10)]
)
def test_a_column_for_each_class(classes: int | None, columns: int):
    assert grid_layout(denoiser(num_classes=classes), RECIPE) == (columns, 8 * columns)


def test_a_column_for_each_example():
    assert grid_layout(denoiser(vector_dim=2), of_vectors()) == (8, 64)
