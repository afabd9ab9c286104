"""Bare training steps: ours is the task's, a peer's is torch's own."""

import copy
from math import isfinite

import pytest
import torch
from torch import nn

from visarch.bench.steps import OurStep, PeerStep, digits, in_eval, unit_images
from visarch.models.config import VAEConfig
from visarch.models.vae import GaussianVAE
from visarch.training.randomness import StepNoise, batch_indices
from visarch.training.vae import VAETrainConfig
from visarch.training.vae_task import VAETask


@pytest.fixture(scope="module")
def data():
    return digits(side=8, channels=1)


@pytest.fixture
def ours(data) -> tuple[OurStep, GaussianVAE]:
    config = VAETrainConfig(data="digits", batch_size=4, learning_rate=1e-3, clip=0.5)
    torch.manual_seed(0)
    model = GaussianVAE(VAEConfig(image_shape=(1, 8, 8), latent_dim=4, channels=8, depth=1))
    return OurStep(VAETask(config, data.levels), model, data.splits["train"], config), model


def test_our_step_is_the_tasks_loss_and_leaves_the_model_given_alone(ours, data):
    step, model = ours
    before = copy.deepcopy(model.state_dict())
    batch = step.split.read(batch_indices(0, 0, len(step.split), 4))
    expected, _ = step.task.loss(copy.deepcopy(model).train(), batch, StepNoise(0, 0, 4))
    assert step() == pytest.approx(expected.item(), rel=1e-4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_our_step_learns_and_averages(ours):
    step, model = ours
    losses = [step() for _ in range(3)]
    assert all(map(isfinite, losses))
    assert all(torch.isfinite(p).all() for p in step.model.parameters())
    moved = zip(step.model.parameters(), model.parameters(), strict=True)
    assert all(not torch.equal(ours, start) for ours, start in moved)
    assert step.ema.updates == step.number == 3
    averaged = zip(step.ema.model.parameters(), step.model.parameters(), strict=True)
    assert any(not torch.equal(average, now) for average, now in averaged)


def test_a_peers_step_is_that_of_torch_by_hand():
    """On a loader of one batch, whose order does not matter to a mean."""
    torch.manual_seed(0)
    x, y = torch.randn(4, 3), 100 * torch.randn(4, 1)
    model = nn.Linear(3, 1)
    other = copy.deepcopy(model)
    config = VAETrainConfig(data="digits", batch_size=4, clip=1.0)

    def loss(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (net(x) - y).square().mean()

    step = PeerStep(
        model,
        lambda *batch: loss(model, *batch),
        torch.optim.SGD(model.parameters(), lr=0.1),
        (x, y),
        config,
    )
    averages = None
    for _ in range(3):
        found = step()
        expected = loss(other, x, y)
        gradients = torch.autograd.grad(expected, list(other.parameters()))
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > 1  # so that it is clipped
        with torch.no_grad():
            for weight, gradient in zip(other.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient / (norm + 1e-6)
        now = [weight.detach().clone() for weight in other.parameters()]
        averages = (
            now
            if averages is None
            else [0.999 * a + 0.001 * w for a, w in zip(averages, now, strict=True)]
        )
        assert found == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(list(model.parameters()), now, check_device=False)
    torch.testing.assert_close(list(step.ema.module.parameters()), averages)


def test_a_peers_loader_goes_on_for_ever_in_whole_batches():
    seen = []
    model = nn.Linear(1, 1)

    def loss(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return model(x).sum()

    config = VAETrainConfig(data="digits", batch_size=2)
    step = PeerStep(
        model,
        loss,
        torch.optim.SGD(model.parameters(), lr=0.0),
        (torch.arange(5.0).unsqueeze(1),),
        config,
    )
    for _ in range(6):
        step()
    assert [len(batch) for batch in seen] == [2] * 6
    assert set(torch.cat(seen).flatten().tolist()) == set(range(5))


def test_peers_get_the_images_that_we_get(data):
    images = unit_images(data)
    assert images.shape == data.splits["train"].images.shape == (4000, 1, 8, 8)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1


def test_a_look_in_eval_mode_changes_nothing():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    x = torch.randn(8, 2)
    before = copy.deepcopy(model.state_dict())
    output = in_eval(model, x)
    assert not output.requires_grad
    torch.testing.assert_close(output, x / (1 + 1e-5) ** 0.5)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
