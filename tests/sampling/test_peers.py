"""Whole trajectories against diffusers' schedulers, on the noise levels of DDPM's 1000 steps.

The network is a fixed one that is not linear, looks beyond the pixel, and predicts ε, x or v; both
sides call it at the same times. diffusers computes in single precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from visarch.objectives.diffusion import Prediction, diffuse, target, to_noise
from visarch.sampling import (
    Denoise,
    ddim,
    ddpm,
    denoiser,
    dpm_solver_pp,
    dynamic_threshold,
    heun,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")

TOLERANCE = 1e-4
SHAPE = (3, 2, 5, 4)
NAMES = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}

every_prediction = pytest.mark.parametrize("prediction", NAMES)


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    """What diffusers warns of is not our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Peer:
    """A scheduler, the schedule that its ᾱ imply at its timesteps, and a network between them."""

    def __init__(self, scheduler, num_steps: int, prediction: Prediction) -> None:
        scheduler.set_timesteps(num_steps)
        self.scheduler, self.prediction = scheduler, prediction
        self.log_snr = torch.logit(scheduler.alphas_cumprod.double())
        distinct = dict.fromkeys(int(step) for step in scheduler.timesteps)
        self.times = torch.tensor([(step + 1) / 1000 for step in distinct] + [0.0]).double()

    def schedule(self, t: Tensor) -> Tensor:
        return self.log_snr[(1000 * t).round().long() - 1].to(t)

    def network(self, x: Tensor, t: Tensor) -> Tensor:
        """Its x̂ is a bent and blurred x, put in terms of what it predicts."""
        mixed = 1.2 * x + 0.5 * x.roll(1, -1) - 0.4 * x.flip(1)
        data = 0.9 * (mixed + (9 * t).sin().view(-1, 1, 1, 1)).tanh()
        log_snr = self.schedule(t)
        return target(data, to_noise(data, x, log_snr, "x0"), log_snr, self.prediction)

    @property
    def denoise(self) -> Denoise:
        return denoiser(self.network, self.schedule, self.prediction)

    def at(self, step) -> Tensor:
        """The time of one of the scheduler's steps, for each image."""
        return torch.full(SHAPE[:1], (float(step) + 1) / 1000)


def peer(kind: str, num_steps: int, prediction: str, **settings) -> Peer:
    scheduler = getattr(diffusers, kind)(prediction_type=NAMES[prediction], **settings)
    return Peer(scheduler, num_steps, prediction)


def follow(sampler: Callable[..., Tensor], peer: Peer, x: Tensor, **settings) -> list[Tensor]:
    """x after each step of ours."""
    trajectory: list[Tensor] = []
    sampler(
        peer.denoise,
        x,
        peer.times,
        peer.schedule,
        watch=lambda step, x, data: trajectory.append(x),
        **settings,
    )
    return trajectory


def assert_agree(ours: list[Tensor], theirs: list[Tensor]) -> None:
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=0, atol=TOLERANCE)
    assert ours[0].std() > 0.5  # the trajectories are not all of nothing
    assert (ours[-1] - ours[-2]).abs().max() > 10 * TOLERANCE


def noises(num_steps: int) -> list[Tensor]:
    """The noise that a scheduler draws from a generator with seed 0."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator) for _ in range(num_steps)]


@every_prediction
@pytest.mark.parametrize("num_steps", [7, 50])
@pytest.mark.parametrize(
    ("spacing", "variance", "fraction"),
    [
        ("leading", "fixed_small", 0.0),
        ("trailing", "fixed_small", 0.0),
        ("linspace", "fixed_small", 0.0),
        ("leading", "fixed_large", 1.0),  # "trailing" would add noise after the last step
        ("linspace", "fixed_large", 1.0),
    ],
)
def test_ddpm(prediction: str, num_steps: int, spacing: str, variance: str, fraction: float):
    them = peer(
        "DDPMScheduler",
        num_steps,
        prediction,
        clip_sample=False,
        timestep_spacing=spacing,
        variance_type=variance,
    )
    x, generator = torch.randn(SHAPE), torch.Generator().manual_seed(0)
    ours = follow(ddpm, them, x, noise=noises(num_steps).__getitem__, fraction=fraction)
    theirs = []
    for step in them.scheduler.timesteps:
        output = them.network(x, them.at(step))
        x = them.scheduler.step(output, step, x, generator=generator).prev_sample
        theirs.append(x)
    assert_agree(ours, theirs)


@every_prediction
def test_ddpm_with_a_learned_variance(prediction: str):
    them = peer("DDPMScheduler", 10, prediction, clip_sample=False, variance_type="learned_range")
    x, generator = torch.randn(SHAPE), torch.Generator().manual_seed(0)

    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([them.network(x, t), (3 * x).cos()], dim=1)

    theirs, theirs_x = [], x
    for step in them.scheduler.timesteps:
        output = network(theirs_x, them.at(step))
        theirs_x = them.scheduler.step(output, step, theirs_x, generator=generator).prev_sample
        theirs.append(theirs_x)
    ours: list[Tensor] = []
    ddpm(
        denoiser(network, them.schedule, prediction),
        x,
        them.times,
        them.schedule,
        noise=noises(10).__getitem__,
        watch=lambda step, x, data: ours.append(x),
    )
    assert_agree(ours, theirs)


@every_prediction
@pytest.mark.parametrize("num_steps", [10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(prediction: str, num_steps: int, eta: float):
    them = peer("DDIMScheduler", num_steps, prediction, clip_sample=False)
    x, noise = torch.randn(SHAPE), noises(num_steps)
    ours = follow(ddim, them, x, noise=noise.__getitem__, eta=eta)
    theirs = []
    for number, step in enumerate(them.scheduler.timesteps):
        output = them.network(x, them.at(step))
        given = {"eta": eta, "variance_noise": noise[number] if eta else None}
        x = them.scheduler.step(output, int(step), x, **given).prev_sample
        theirs.append(x)
    assert_agree(ours, theirs)


@every_prediction
@pytest.mark.parametrize("num_steps", [8, 40])
def test_heun(prediction: str, num_steps: int):
    """diffusers goes by x/α; two of its steps are one of ours, but for the last."""
    them = peer(
        "HeunDiscreteScheduler",
        num_steps,
        prediction,
        beta_start=1e-4,
        beta_end=0.02,
        timestep_spacing="trailing",
    )
    x = torch.randn(SHAPE)
    ours = follow(heun, them, x)
    states, alphas = [], [*them.schedule(them.times[:-1]).sigmoid().sqrt().tolist(), 1.0]
    x = x / alphas[0]
    for step in them.scheduler.timesteps:
        output = them.network(them.scheduler.scale_model_input(x, step), them.at(step))
        x = them.scheduler.step(output, step, x).prev_sample
        states.append(x)
    ends = states[1::2] + states[-1:]
    theirs = [state * alpha for state, alpha in zip(ends, alphas[1:], strict=True)]
    assert_agree(ours, theirs)


@every_prediction
@pytest.mark.parametrize("num_steps", [5, 10, 20, 50])
def test_dpm_solver_pp(prediction: str, num_steps: int):
    them = peer(
        "DPMSolverMultistepScheduler",
        num_steps,
        prediction,
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
    x = torch.randn(SHAPE)
    ours = follow(dpm_solver_pp, them, x)
    theirs = []
    for step in them.scheduler.timesteps:
        x = them.scheduler.step(them.network(x, them.at(step)), step, x).prev_sample
        theirs.append(x)
    assert_agree(ours, theirs)


def test_diffusing_an_image():
    them = peer("DDPMScheduler", 1000, "epsilon")
    x, noise, steps = torch.randn(SHAPE), torch.randn(SHAPE), torch.tensor([0, 400, 999])
    log_snr = them.schedule((steps + 1) / 1000)
    torch.testing.assert_close(
        diffuse(x, noise, log_snr), them.scheduler.add_noise(x, noise, steps)
    )
    torch.testing.assert_close(
        target(x, noise, log_snr, "v"), them.scheduler.get_velocity(x, noise, steps)
    )


def test_dynamic_thresholding():
    scheduler = diffusers.DDPMScheduler(
        thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=100.0
    )
    x = torch.tensor([0.1, 1.0, 5.0]).view(3, 1, 1, 1) * torch.randn(SHAPE)
    torch.testing.assert_close(dynamic_threshold(x, 0.9), scheduler._threshold_sample(x))
