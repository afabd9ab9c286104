"""Denoisers in pipelines of Hugging Face's diffusers: the real ones, where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from visarch.data import Preparation
from visarch.errors import UserError
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import alpha_sigma

from .inference.denoisers import denoiser, recipe

pytest.importorskip("diffusers", reason="the extra `peers` is not installed")
adapters = pytest.importorskip("visarch.diffusers")

SHAPE = (3, 8, 12)
pytestmark = pytest.mark.usefixtures("as_for_users")


class Knowing(Denoiser):
    """A denoiser that knows the one image there is, and says it as a network of its kind would."""

    def know(self, image: Tensor, of) -> Knowing:
        self.image, self.of = image, of
        return self

    def forward(self, x, t, label=None, vector=None):
        alpha, sigma = (a.view(-1, 1, 1, 1) for a in alpha_sigma(self.of.log_snr(t)))
        noise = (x - alpha * self.image) / sigma
        said = {"x0": self.image.expand_as(x), "epsilon": noise}
        return (said | {"v": alpha * noise - sigma * self.image})[self.of.prediction]


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize(("schedule", "shift"), [("cosine", 0.0), ("linear", -1.0)])
def test_a_pipeline_finds_the_image_that_the_network_knows(prediction, schedule, shift):
    from diffusers import DDPMPipeline

    of = recipe(prediction=prediction, schedule=schedule, shift=shift)
    image = 1.6 * torch.rand(SHAPE) - 0.8
    model = Knowing(denoiser(SHAPE).config).know(image, of)
    unet = adapters.DiffusersUNet.around(model, SHAPE[1:])
    pipeline = DDPMPipeline(unet=unet, scheduler=adapters.scheduler(of))
    pipeline.set_progress_bar_config(disable=True)
    (drawn,) = pipeline(num_inference_steps=20, output_type="np").images
    np.testing.assert_allclose(drawn, (image / 2 + 0.5).permute(1, 2, 0), atol=5e-3)


@torch.no_grad()
def test_the_adapter_is_the_denoiser_at_the_time_of_a_step():
    model, x = denoiser(SHAPE, learned_variance=True), torch.randn(2, *SHAPE)
    unet, labels = adapters.DiffusersUNet.around(model, SHAPE[1:]), torch.tensor([2, -1])
    expected = model(x, torch.full((2,), 0.731), labels)[:, :3]
    assert torch.equal(unet(x, 731, labels).sample, expected)
    assert torch.equal(unet(x, torch.tensor(731), labels, return_dict=False)[0], expected)
    each = unet(x, torch.tensor([731, 20]), labels).sample
    torch.testing.assert_close(each[0], expected[0])
    assert (unet.config.sample_size, unet.config.in_channels) == (SHAPE[1:], 3)


def test_a_scheduler_has_the_schedule_that_the_network_was_trained_with():
    of = recipe(schedule="linear", shift=-0.7)
    scheduler = adapters.scheduler(of, 100)
    expected = of.log_snr(torch.arange(100) / 100).sigmoid()
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, rtol=1e-4, atol=1e-6)


def kept(model: Denoiser, shape: tuple[int, ...], folder: Path, **changes: Any) -> str:
    model.save_pretrained(folder)
    facts = {
        "task": "diffusion",
        "preparation": Preparation(shape, 256).to_dict(),
        "settings": recipe(**changes).to_dict(),
    }
    (folder / "task.json").write_text(json.dumps(facts))
    return str(folder)


def test_a_pipeline_of_a_model_folder(tmp_path: Path):
    pipeline = adapters.pipeline(kept(denoiser(SHAPE), SHAPE, tmp_path))
    pipeline.set_progress_bar_config(disable=True)
    seeded = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    images = [pipeline(num_inference_steps=3, generator=g).images[0] for g in seeded]
    assert images[0].size == (12, 8)
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()


@torch.no_grad()
def test_a_pipeline_that_was_saved_draws_the_same_images(tmp_path: Path):
    from diffusers import DDPMPipeline

    pipeline = adapters.pipeline(kept(denoiser(SHAPE), SHAPE, tmp_path / "model"))
    pipeline.save_pretrained(tmp_path / "saved")
    drawn = []
    for one in (pipeline, DDPMPipeline.from_pretrained(tmp_path / "saved")):
        one.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        drawn.append(one(num_inference_steps=3, generator=generator).images[0].tobytes())
    assert drawn[0] == drawn[1]


def test_what_pipelines_cannot_have(tmp_path: Path):
    signals, vectors = denoiser((2, 16)), denoiser(SHAPE, vector_dim=2)
    with pytest.raises(UserError, match="--label-dropout 0, so that it always takes a label"):
        adapters.pipeline(kept(denoiser(SHAPE), SHAPE, tmp_path / "c", label_dropout=0.0))
    unconditional = denoiser(SHAPE, num_classes=None)
    assert adapters.pipeline(kept(unconditional, SHAPE, tmp_path / "d", label_dropout=0.0))
    with pytest.raises(UserError, match="1-d data"):
        adapters.pipeline(kept(signals, (2, 16), tmp_path / "a"))
    with pytest.raises(UserError, match="context vectors"):
        adapters.pipeline(kept(vectors, SHAPE, tmp_path / "b"))
