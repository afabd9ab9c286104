"""What a denoiser is used for: each image by its number, the same whoever else is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from visarch.data import Batch, Split, to_unit
from visarch.errors import UserError
from visarch.inference.diffusion import (
    Known,
    condition_of,
    drawing,
    image_losses,
    mean_loss,
    measure,
    sample,
)
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import Condition
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import diffuse, to_data
from visarch.performance import choices
from visarch.performance.inference import Inference
from visarch.sampling import NO_LABEL, clip, ddim, guide, log_snr_times
from visarch.training.randomness import StepNoise

from .denoisers import RECIPE, SHAPE, denoiser, of_vectors, recipe


def drawn(numbers, condition: Condition | None = None, **changes) -> torch.Tensor:
    return sample(denoiser(), recipe(**changes), SHAPE, numbers, 5, condition).images


def labels(*values: int) -> Condition:
    return Condition(torch.tensor(values))


# Samples.


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpm++"])
def test_an_image_depends_on_its_number_alone(sampler: str, precision: str):
    how = {"sampler": sampler, "precision": precision}
    many = drawn(range(35), **how)
    assert many.shape == (35, *SHAPE)
    assert torch.equal(drawn(range(2), **how), many[:2])
    assert torch.equal(drawn([34, 3, 17], labels(1, 0, 2), **how), many[[34, 3, 17]])
    assert len(many.flatten(1).unique(dim=0)) == 35


@pytest.mark.parametrize("shape", [SHAPE, (1, 11), (1, 3, 4, 5)])
def test_bf16_draws_nearly_the_same(shape: tuple[int, ...]):
    """Within two of 255 levels on average: 8 bits of each number are kept, and rounding adds up."""
    model, one = denoiser(shape), torch.arange(16)
    exact, rounded = (
        sample(model, recipe(precision=precision), shape, one.tolist(), 0).images
        for precision in ("fp32", "bf16")
    )
    assert 0 < (rounded - exact).abs().mean() < 2 / 255
    assert (rounded - exact).abs().mean() < 0.02 * exact.std()


def test_only_what_is_not_fp32_is_drawn_by_a_copy():
    model = denoiser()
    assert drawing(model, recipe(precision="fp32")) is model
    fast = drawing(model, recipe(precision="bf16"))
    assert isinstance(fast, Inference)
    assert fast.precision == "bf16"
    auto = drawing(model, recipe(precision="auto"))
    expected = choices.precision(torch.device("cpu"), low_precision=True).value
    assert (expected == "bf16") == isinstance(auto, Inference)


def test_an_image_depends_on_seed_and_condition():
    model, first = denoiser(), drawn([0], labels(0))
    assert not torch.equal(drawn([0], labels(1)), first)
    assert not torch.equal(sample(model, RECIPE, SHAPE, [0], 6, labels(0)).images, first)
    assert not torch.equal(drawn([0], labels(0), guidance=0.0), first)
    assert not torch.equal(drawn([0], labels(0), steps=3), first)


@pytest.mark.parametrize("count", [3, 20])
def test_the_film_is_shown_while_it_is_made(count: int):
    """Of each batch in turn, and without what fills the batch up."""
    shown: list[torch.Tensor] = []
    drawn = sample(denoiser(), RECIPE, SHAPE, range(count), 5, frames=3, seen=shown.append)
    batches = [torch.stack(shown[first : first + 3]) for first in range(0, len(shown), 3)]
    assert torch.equal(torch.cat(batches, 1), drawn.film)
    assert torch.equal(drawn.film[-1], drawn.images)


def test_samples_are_what_the_sampler_makes():
    """Written out for DDIM with guidance."""
    model, count = denoiser(), 3
    x = numbered_normal("sample", 5, range(count), SHAPE)
    label = torch.arange(count)

    @torch.no_grad()
    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        outputs = (model(x_t, t, ids) for ids in (label, torch.full_like(label, NO_LABEL)))
        return clip(to_data(guide(*outputs, 1.0), x_t, RECIPE.log_snr(t), "v"))

    expected = ddim(denoise, x, log_snr_times(4, RECIPE.log_snr), RECIPE.log_snr)
    ours = drawn(range(count), sampler="ddim")
    torch.testing.assert_close(ours, (expected + 1) / 2, rtol=1e-4, atol=1e-5)


def test_work_may_be_shared_in_any_order():
    def backwards(items, work):
        return [work(item) for item in reversed(items)][::-1]

    ours = sample(denoiser(), RECIPE, SHAPE, range(40), 5, deal=backwards).images
    assert torch.equal(ours, drawn(range(40)))


def test_progress_ends_at_the_number_of_images():
    told: list[tuple[int, int]] = []
    sample(denoiser(), RECIPE, SHAPE, range(20), 0, progress=lambda *now: told.append(now))
    assert told == [(16, 20), (20, 20)]


def test_vectors_and_learned_variances():
    model = denoiser(vector_dim=2, learned_variance=True)
    told = of_vectors()
    usual = sample(model, told, SHAPE, range(3), 0).images
    assert usual.isfinite().all()
    given = Condition(torch.tensor([0, 2, 0]), torch.tensor([[5.0, -1], [6, 0], [8, 8]]))
    other = sample(model, told, SHAPE, range(3), 0, given).images
    assert torch.equal(other[:2], usual[:2])
    assert not torch.equal(other[2], usual[2])


@pytest.mark.parametrize("shape", [(1, 11), (5, 3, 4, 5), (1, 1, 1)])
def test_every_shape(shape: tuple[int, ...]):
    images = sample(denoiser(shape), RECIPE, shape, range(2), 0).images
    assert images.shape == (2, *shape)
    assert images.isfinite().all()


@pytest.mark.parametrize("guidance", [0.0, 1.0])
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpm++"])
def test_evaluations_are_counted(sampler: str, rounds: int, guidance: float):
    model, seen = denoiser(), []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    told, condition = recipe(sampler=sampler, guidance=guidance), labels(*[0] * 16)
    known = Known(torch.zeros(SHAPE), torch.ones(1, 7, 6) > 0, rounds)
    sample(model, told, SHAPE, range(16), 0, condition, known=None if rounds == 1 else known)
    assert sum(seen) / 16 == told.evaluations(condition, rounds)


class Fetches(TorchFunctionMode):
    """Lets tensors without values come to the CPU, and keeps count; nothing else can read them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        if func is Tensor.cpu and args[0].is_meta:
            self.count += 1
            return torch.zeros(args[0].shape)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rounds", [0, 2])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpm++"])
def test_a_batch_is_waited_for_once_it_is_drawn(sampler: str, rounds: int):
    """No value is read back from the device while the network has something left to do, whatever
    is asked for: guidance, a film, an image to keep a part of."""
    model = denoiser(learned_variance=True).to("meta")
    known = Known(torch.zeros(SHAPE), torch.ones(1, 7, 6) > 0, rounds) if rounds else None
    before: list[int] = []
    with Fetches() as fetches:
        model.register_forward_pre_hook(lambda *_: before.append(fetches.count))
        told = recipe(sampler=sampler)
        sample(model, told, SHAPE, range(16), 0, known=known, frames=40)
    assert set(before) == {0}
    assert len(before) == told.evaluations(Condition(), max(rounds, 1))
    assert fetches.count == 2  # the images and the film


# Films and inpainting.


@pytest.mark.parametrize(("steps", "frames", "expected"), [(4, 40, 5), (9, 4, 4), (3, 1, 1)])
def test_a_film_leads_from_noise_to_the_images(steps: int, frames: int, expected: int):
    model = denoiser()
    images, film = sample(model, recipe(steps=steps), SHAPE, range(18), 0, frames=frames)
    assert film.shape == (expected, 18, *SHAPE)
    noise = numbered_normal("sample", 0, range(18), SHAPE)
    assert torch.equal(film[0], (noise + 1) / 2)
    if frames > 1:
        assert torch.equal(film[-1], images)
    assert torch.equal(images, sample(model, recipe(steps=steps), SHAPE, range(18), 0).images)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("sampler", ["ddpm", "dpm++"])
def test_what_is_known_stays(sampler: str, rounds: int):
    image, mask = torch.rand(SHAPE), torch.rand(1, 7, 6) < 0.5
    images, film = sample(
        denoiser(),
        recipe(sampler=sampler),
        SHAPE,
        range(3),
        0,
        known=Known(image, mask, rounds),
        frames=100,
    )
    kept = mask.expand(SHAPE)
    for result in images:
        torch.testing.assert_close(result[kept], image[kept])
        assert not torch.isclose(result[~kept], image[~kept]).any()
    assert torch.isclose(images[0][~kept], images[1][~kept]).float().mean() < 0.3  # both may clip
    assert len(film) == 1 + 4 * rounds
    assert torch.equal(film[-1], images)


# Measurement.


def split_of(count: int = 30, **more) -> Split:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *SHAPE)))
    names = [str(number) for number in range(count)]
    return Split("test", images.to(torch.uint8), torch.arange(count) % 3, names, **more)


def step_noise() -> StepNoise:
    return StepNoise(1, 0, 4)


def test_the_mean_loss_is_that_of_its_images():
    model, split = denoiser(), split_of(230)
    loss = mean_loss(model, RECIPE, split, 256, step_noise())
    total = 0.0
    for number, indices in enumerate(torch.arange(230).split(100)):
        batch = split.read(indices)
        x = 2 * to_unit(batch.images, 256) - 1
        own = step_noise().fork(number, len(indices))
        with torch.no_grad():
            order = own.uniform().argsort()
            condition = Condition(batch.labels).take(order)
            total += float(image_losses(model, RECIPE, x[order], condition, own).sum())
    assert loss == pytest.approx(total / 230)
    assert loss == mean_loss(model, RECIPE, split, 256, step_noise())


def test_each_class_is_measured_at_all_times():
    """… though a folder lists one after the other."""
    model, seen = denoiser(), []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[1:3]))
    split = split_of(90)
    split.labels = torch.arange(90) // 30
    mean_loss(model, RECIPE, split, 256, step_noise())
    ((t, label),) = seen
    assert sorted((90 * t).int().tolist()) == list(range(90))
    for own in (t[label == number] for number in range(3)):
        assert len(own) == 30
        assert own.min() < 0.2
        assert own.max() > 0.8


def test_the_loss_of_an_image_is_its_error():
    """‖v − v̂‖² / D at the image's own time and noise."""
    model, split = denoiser(), split_of()
    x = 2 * to_unit(split.read(torch.arange(30)).images, 256) - 1
    condition = condition_of(model, split)
    with torch.no_grad():
        losses = image_losses(model, RECIPE, x, condition, step_noise().fork(0, 30))
        own = step_noise().fork(0, 30)
        t = (torch.arange(30) + own.uniform()) / 30
        epsilon, log_snr = own.normal(*SHAPE), RECIPE.log_snr(t)
        alpha, sigma = (
            f.sqrt().view(-1, 1, 1, 1) for f in (log_snr.sigmoid(), (-log_snr).sigmoid())
        )
        output = model(diffuse(x, epsilon, log_snr), t, split.labels)
    expected = (alpha * epsilon - sigma * x - output).square().flatten(1).mean(1)
    torch.testing.assert_close(losses, expected)


def test_the_variances_loss_reaches_the_variances():
    model = denoiser(learned_variance=True)
    x, condition = torch.rand(6, *SHAPE), labels(*[0] * 6)
    image_losses(model, RECIPE, x, condition, step_noise().fork(0, 6)).mean().backward()
    gradient = model.unet.conv.weight.grad
    assert gradient is not None
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("learned_variance", [False, True])
def test_the_bound_repeats_itself(learned_variance: bool):
    model, split = denoiser(learned_variance=learned_variance), split_of()
    told: list[tuple[int, int]] = []
    first, second = (
        dict(
            measure(
                model,
                RECIPE,
                split,
                256,
                step_noise(),
                num_times=20,
                progress=lambda *now: told.append(now),
            )
        )
        for _ in range(2)
    )
    assert first == second
    assert first["bits/dim"] > 8  # no more can be known of random levels
    assert told == [(30, 30)] * 2


def test_what_images_are_is_told_as_far_as_the_model_takes_it(as_for_users):
    split = split_of(4)
    assert condition_of(denoiser(num_classes=None), split) == Condition()
    assert torch.equal(condition_of(denoiser(), split).labels, split.labels)  # type: ignore[arg-type]
    unlabelled = Batch(split.read(torch.arange(4)).images, None, None, torch.arange(4))
    assert condition_of(denoiser(), unlabelled).labels.tolist() == [NO_LABEL] * 4  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"a context vector of 2 numbers.*these images have none"):
        condition_of(denoiser(vector_dim=2), split)
    with pytest.raises(UserError, match="these images have 3"):
        condition_of(denoiser(vector_dim=2), split_of(4, vectors=torch.zeros(4, 3)))


def test_a_model_is_asked_in_eval_mode():
    """Dropout would make two samples of one number differ."""
    assert not denoiser().training
    assert torch.equal(drawn([0]), drawn([0]))
    assert isinstance(denoiser(), Denoiser)
