"""Denoisers of visarch inside pipelines of Hugging Face's diffusers.

    pipeline = visarch.diffusers.pipeline("runs/0002-diffusion-digits")
    images = pipeline(batch_size=16, num_inference_steps=250).images

diffusers counts T steps 0 … T − 1 where we have times: step i is t = i/T. Its schedulers take the
β of each step, which here are made of the run's own schedule.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from visarch.errors import UserError
from visarch.inference.recipe import Recipe, num_classes, recipe_of
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser
from visarch.run import load_run

try:
    from diffusers import ConfigMixin, DDPMPipeline, DDPMScheduler, ModelMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.models.unets.unet_2d import UNet2DOutput
except ImportError as error:
    raise UserError("visarch.diffusers needs a package: pip install diffusers") from error

NUM_STEPS = 1000
"""T."""
_PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
"""What diffusers calls what a network may predict; its v is ours."""


class DiffusersUNet(ModelMixin, ConfigMixin):
    """A denoiser with the calls of diffusers' UNet2DModel.

    Args:
        sample_size: height and width of its images.
        in_channels: of its images; the output has as many, a learned variance is left out.
        settings: of the denoiser, as its ``config.json`` tells them.
        num_steps: T.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: tuple[int, int],
        in_channels: int,
        settings: Mapping[str, Any],
        num_steps: int = NUM_STEPS,
    ) -> None:
        super().__init__()
        self.denoiser = Denoiser(
            UNetConfig(**settings["unet"]),
            num_classes=settings["num_classes"],
            vector_dim=settings["vector_dim"],
        )

    @classmethod
    def around(
        cls, model: Denoiser, sample_size: tuple[int, int], num_steps: int = NUM_STEPS
    ) -> "DiffusersUNet":
        """The adapter of a denoiser, in eval mode; they share their weights.

        Raises:
            ValueError: the denoiser takes vectors, or no images.
        """
        if model.config.ndim != 2 or model.context.vector_dim is not None:
            raise ValueError(
                "DiffusersUNet was given a denoiser that takes "
                f"{'context vectors' if model.config.ndim == 2 else f'{model.config.ndim}-d data'}:"
                " diffusers' pipelines have images, and classes at most"
            )
        with torch.device("meta"):  # a network that the model takes the place of
            adapter = cls(
                sample_size=sample_size,
                in_channels=model.config.in_channels,
                settings=model.settings(),
                num_steps=num_steps,
            )
        adapter.denoiser = model
        return adapter.eval()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """As UNet2DModel's: what is predicted for images (b, C, H, W) at steps 0 … T − 1."""
        config: Any = self.config
        steps = torch.as_tensor(timestep, dtype=torch.float32, device=sample.device)
        times = (steps / config.num_steps).expand(len(sample))
        predicted = self.denoiser(sample, times, class_labels)[:, : config.in_channels]
        return UNet2DOutput(sample=predicted) if return_dict else (predicted,)


def scheduler(recipe: Recipe, num_steps: int = NUM_STEPS) -> Any:
    """A DDPMScheduler of T steps with the schedule and prediction that a denoiser was trained with.

    ᾱ_i = sigmoid(λ(i/T)), β_i = 1 − ᾱ_i/ᾱ_{i−1}.
    """
    log_snr = recipe.log_snr(torch.arange(num_steps, dtype=torch.float64) / num_steps)
    kept = log_snr.sigmoid()
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    return DDPMScheduler(
        num_train_timesteps=num_steps,
        trained_betas=(1 - kept / before).tolist(),
        prediction_type=_PREDICTIONS[recipe.prediction],
        clip_sample=True,
    )


def pipeline(source: str, device: str = "cpu") -> Any:
    """A DDPMPipeline of a diffusion run, a model folder of one, or a hub id.

    Raises:
        UserError: there is no diffusion model; or none of images, or one that must be told what a
            pipeline does not tell: a vector, or a class always.
    """
    run = load_run(source, device).of(Denoiser)
    recipe = recipe_of(run)
    if num_classes(run.model) and recipe.label_dropout == 0:
        raise UserError(
            f"{source} was trained with --label-dropout 0, so that it always takes a label, and a "
            "DDPMPipeline tells none: draw with `visarch sample`, or give class_labels to "
            "DiffusersUNet.around(model, sample_size)."
        )
    sides = run.preparation.shape[1:]
    try:
        unet = DiffusersUNet.around(run.model, sides)
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from error
    return DDPMPipeline(unet=unet, scheduler=scheduler(recipe))
