"""Diffusion as a task: what is minimised, and what it depends on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from visarch.data import Data, open_data
from visarch.inference.recipe import Recipe
from visarch.models.unet import Denoiser
from visarch.training import diffusion_task
from visarch.training.diffusion import DiffusionTrainConfig, Network
from visarch.training.diffusion_defaults import settle, takes_labels, unet_config
from visarch.training.diffusion_task import DiffusionTask
from visarch.training.randomness import StepNoise

COUNT = 512


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Labelled images that are brighter from left to right."""
    random = np.random.default_rng(0)
    images = random.integers(0, 200, (COUNT, 6, 5)) + 10 * np.arange(5)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=images.astype(np.uint8), labels=np.arange(COUNT) % 4)
    return open_data(path)


def make(data: Data, **changes) -> tuple[DiffusionTask, Denoiser]:
    """A task with a network that says nothing but 0, so that its loss is that of the targets."""
    network = Network(widths=(8,), num_blocks=1, num_groups=4, context_dim=16, dropout=0.0)
    config = settle(
        DiffusionTrainConfig(data="x", steps=1, device="cpu", model=network, **changes), data
    )
    torch.manual_seed(0)
    model = Denoiser(
        unet_config(config, data), num_classes=4 if takes_labels(config, data) else None
    )
    torch.nn.init.zeros_(model.unet.conv.weight)
    torch.nn.init.zeros_(model.unet.conv.bias)
    return DiffusionTask(config, data), model


def batch_of(data: Data, count: int = 400):
    return data.splits["train"].read(torch.arange(count))


def noise(step: int = 0, rank: int = 0, world_size: int = 1, count: int = 400) -> StepNoise:
    return StepNoise(3, step, count, rank, world_size)


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_loss_of_a_network_that_says_nothing(prediction: str, data: Data):
    """It is the mean square of the target: 1 for ε, E x² for x, and half of each for v, as α² is a
    half on average over the times of the cosine schedule."""
    task, model = make(data, prediction=prediction)
    batch = batch_of(data)
    square = float((2 * (batch.images.float() + 0.5) / 256 - 1).square().mean())
    expected = {"epsilon": 1.0, "x0": square, "v": (1 + square) / 2}[prediction]
    loss, _ = task.loss(model, batch, noise())
    assert loss.item() == pytest.approx(expected, rel=0.02)


def test_several_processes_have_the_loss_of_one(data: Data):
    task, model = make(data, flip="yes")
    torch.nn.init.normal_(model.unet.conv.weight)
    model.train()
    whole, _ = task.loss(model, batch_of(data, 64), noise(count=64))
    parts = []
    for rank in range(2):
        part = data.splits["train"].read(torch.arange(64).chunk(2)[rank])
        parts.append(task.loss(model, part, noise(rank=rank, world_size=2, count=64))[0])
    assert sum(parts).item() / 2 == pytest.approx(whole.item(), rel=1e-5)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list:
    """What the network is told: images and conditions of each batch."""
    told = []

    def watched(network, recipe, x, condition, noise):
        told.append((x, condition))
        return x.flatten(1).sum(1)

    monkeypatch.setattr(diffusion_task, "image_losses", watched)
    return told


def test_labels_are_dropped_image_by_image(data: Data, seen: list):
    task, model = make(data, label_dropout=0.25)
    batch = batch_of(data)
    for step in range(2):
        task.loss(model, batch, noise(step))
    dropped = [condition.labels == -1 for _, condition in seen]
    for kept, (_, condition) in zip(dropped, seen, strict=True):
        assert torch.equal(condition.labels[~kept], batch.labels[~kept])
        assert 0.15 < float(kept.float().mean()) < 0.35
    assert not torch.equal(*dropped)
    for rank in range(2):
        part = data.splits["train"].read(torch.arange(400).chunk(2)[rank])
        task.loss(model, part, noise(1, rank, 2))
        assert torch.equal(seen[-1][1].labels == -1, dropped[1].chunk(2)[rank])
    assert (batch.labels >= 0).all()  # those of the data stay what they are


def test_no_label_is_dropped_if_none_is_to_be(data: Data, seen: list):
    task, model = make(data, label_dropout=0.0)
    task.loss(model, batch_of(data), noise())
    assert torch.equal(seen[0][1].labels, batch_of(data).labels)


def test_an_unconditional_model_is_told_nothing(data: Data, seen: list):
    task, model = make(data, conditional="no")
    task.loss(model, batch_of(data), noise())
    assert seen[0][1] == (None, None)


@pytest.mark.parametrize("flip", ["yes", "no"])
def test_half_of_the_images_are_mirrored_if_they_may_be(flip: str, data: Data, seen: list):
    task, model = make(data, flip=flip)
    batch = batch_of(data)
    task.loss(model, batch, noise())
    x = 2 * (batch.images.float() + 0.5) / 256 - 1
    as_they_are = (seen[0][0] == x).flatten(1).all(1)
    mirrored = (seen[0][0] == x.flip(-1)).flatten(1).all(1)
    assert (as_they_are | mirrored).all()
    assert mirrored.float().mean() == pytest.approx(0.5 if flip == "yes" else 0.0, abs=0.1)


def test_evaluation_tells_every_label_and_repeats_itself(data: Data):
    task, model = make(data)
    first, second = (task.evaluate(model, data.splits["validation"], noise()) for _ in range(2))
    assert first == second
    assert first["loss"] == pytest.approx(
        task.loss(model, batch_of(data), noise())[0].item(), rel=0.05
    )
    assert task.metric[0] in first


def test_facts_survive_json(data: Data):
    task, _ = make(data, prediction="x0", sampler="ddim", sampling_steps=7, guidance=0.5)
    recipe = Recipe.from_dict(json.loads(json.dumps(task.facts())))
    assert recipe == task.recipe
    assert (recipe.sampler, recipe.steps, recipe.guidance) == ("ddim", 7, 0.5)


def test_facts_of_vectors_survive_json(tmp_path: Path):
    random = np.random.default_rng(0)
    vectors = random.normal(2, 3, (30, 2)).astype(np.float32)
    path = tmp_path / "images.npz"
    np.savez(path, images=random.integers(0, 255, (30, 4, 4), dtype=np.uint8), vectors=vectors)
    data = open_data(path)
    task, _ = make(data)
    recipe = Recipe.from_dict(json.loads(json.dumps(task.facts())))
    assert recipe == task.recipe
    assert len(recipe.examples) == len(data.splits["validation"])
