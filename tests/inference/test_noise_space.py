"""Between images through their noise."""

from __future__ import annotations

import pytest
import torch

from visarch.inference.diffusion import sample
from visarch.inference.noise_space import deterministic, interpolate, noise_of, noise_of_seeds
from visarch.inference.recipe import Condition

from .denoisers import RECIPE, SHAPE, denoiser, of_vectors, recipe


def test_an_image_comes_back_from_its_noise():
    model = denoiser()
    images = torch.rand(2, *SHAPE)
    condition = Condition(torch.tensor([0, 2]))
    noise = noise_of(model, RECIPE, images, condition)
    way = interpolate(model, RECIPE, noise, condition, 5, inverted=True)
    assert way.shape == (5, *SHAPE)
    assert (way[[0, -1]] - images).abs().max() < 0.02
    assert (way[2] - images[0]).abs().mean() > 0.05


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm++"])
def test_between_seeds_the_ends_are_their_samples(sampler: str):
    model, told = denoiser(), recipe(sampler=sampler)
    condition = Condition(torch.tensor([1, 2]))
    noise = noise_of_seeds(model, SHAPE, (3, 7))
    way = interpolate(model, told, noise, condition, 18, inverted=False)
    for end, seed, label in ((way[0], 3, 1), (way[-1], 7, 2)):
        (own,) = sample(model, told, SHAPE, [0], seed, Condition(torch.tensor([label]))).images
        torch.testing.assert_close(end, own, rtol=1e-4, atol=1e-4)


def test_the_ends_of_a_model_without_labels():
    model = denoiser(num_classes=None, learned_variance=True)
    noise = noise_of_seeds(model, SHAPE, (3, 7))
    way = interpolate(model, RECIPE, noise, Condition(), 3, inverted=False)
    (own,) = sample(model, RECIPE, SHAPE, [0], 3).images
    torch.testing.assert_close(way[0], own, rtol=1e-4, atol=1e-4)


def test_vectors_are_interpolated_as_well():
    """In the middle of two vectors it is as if both had been their mean, for what is embedded is
    linear in them."""
    model, told = denoiser(vector_dim=2, learned_variance=True), of_vectors()
    noise = noise_of_seeds(model, SHAPE, (3, 3))
    label = torch.tensor([0, 0])

    def middle(*vectors: list[float]) -> torch.Tensor:
        condition = Condition(label, torch.tensor(vectors))
        return interpolate(model, told, noise, condition, 3, inverted=False)[1]

    apart, together = middle([4.0, 0.0], [8.0, 2.0]), middle([6.0, 1.0], [6.0, 1.0])
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together, middle([4.0, 0.0], [4.0, 0.0]), atol=1e-3)


def test_on_the_way_nothing_is_drawn_at_random():
    assert deterministic(recipe(sampler="ddpm")).sampler == "dpm++"
    assert deterministic(recipe(sampler="heun")) == recipe(sampler="heun")
