"""What comes out of each step of a network for one image: its feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from visarch.inference.diffusion import bind
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import Recipe
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianVAE
from visarch.objectives.diffusion import diffuse
from visarch.sampling import NO_LABEL


@torch.no_grad()
def resnet_maps(model: ResNet, x: Tensor) -> dict[str, Tensor]:
    """x, then z, z1 … and y of the ResNet, and the classes' logits where there are any.

    Shapes: x (C, H, …) on the unit scale; maps (c, h, …), vectors (c,), on the CPU.
    """
    steps = {"x": x[None], **model.stages(x[None])}
    if model.classifier is not None:
        steps["classes"] = model.classifier(steps["y"])
    return _first(steps)


@torch.no_grad()
def vae_maps(model: GaussianVAE, x: Tensor) -> dict[str, Tensor]:
    """x, then the steps of encoder and decoder, with z at the posterior's mean.

    Shapes: as of `resnet_maps`; a full Σ^{1/2} is a matrix (Z, Z).
    """
    inner = [f"{half}.{part}" for half in ("encoder", "decoder") for part in ("f_in", "h")]
    with _noted(model, {name: name for name in inner}) as steps:
        posterior = model.encode(x[None])
        image, sigma = model.decode(posterior.mean)
    return _first(
        {
            "x": x[None],
            "encoder.f_in": steps["encoder.f_in"],
            "encoder.h": steps["encoder.h"],
            "encoder.f_mean": posterior.mean,
            "encoder.f_var": posterior.scale,
            "z": posterior.mean,
            "decoder.f_in": steps["decoder.f_in"].view(1, *model.config.grid_shape),  # from (1, n)
            "decoder.h": steps["decoder.h"],
            "decoder.f_mean": image,
            "decoder.f_var": sigma.flatten(1),
        }
    )


@torch.no_grad()
def denoiser_maps(model: Denoiser, recipe: Recipe, x: Tensor, t: float) -> dict[str, Tensor]:
    """The image x with the noise of a time, and what each step of the U-Net makes of it.

    It is told no class if it knows that, and the vector of its recipe's first example where it
    takes one.

    Shapes: as of `resnet_maps`; here ``x`` is on the scale −1 … 1.
    """
    time = torch.full((1,), t, device=x.device)
    noise = numbered_normal("feature maps", 0, [0], tuple(x.shape)).to(x.device)
    noisy = diffuse(2 * x[None] - 1, noise, recipe.log_snr(time))
    condition = recipe.usual(model, [0])
    if condition.labels is not None and recipe.label_dropout > 0:
        condition = condition._replace(labels=torch.tensor([NO_LABEL]))
    with _noted(model, _unet_modules(model.unet)) as steps:
        bind(model, recipe, condition.to(x.device))(noisy, time)
    return _first({"x": noisy, **steps})


def _unet_modules(unet: UNet) -> dict[str, str]:
    """Where a denoiser keeps each step of its U-Net."""
    halves = {"descend": unet.descend, "ascend": unet.ascend}
    steps = {name: f"unet.{half}.{name}" for half, module in halves.items() for name in module}
    return {**steps, "y": "unet"}  # what was padded is cropped off


@contextmanager
def _noted(model: nn.Module, modules: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """While this lasts, what comes out of these modules is kept, each under its step's name."""
    steps: dict[str, Tensor] = {}

    def note(name: str, output: Tensor) -> None:
        steps[name] = output

    handles = [
        model.get_submodule(place).register_forward_hook(
            lambda module, inputs, output, name=name: note(name, output)
        )
        for name, place in modules.items()
    ]
    try:
        yield steps
    finally:
        for handle in handles:
            handle.remove()


def _first(steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a batch of one, on the CPU."""
    return {name: step[0].float().cpu() for name, step in steps.items()}
