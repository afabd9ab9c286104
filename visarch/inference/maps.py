"""What comes out of each step of a network for one image: its feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from visarch.inference.diffusion import bind
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import Recipe, num_classes
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianVAE
from visarch.objectives.diffusion import diffuse
from visarch.sampling import NO_LABEL


@torch.no_grad()
def resnet_maps(model: ResNet, x: Tensor) -> dict[str, Tensor]:
    """z, z1 … and y of the ResNet, and the classes' logits where there are any.

    Shapes: x (C, H, …) on the unit scale; maps (c, h, …), vectors (c,), on the CPU.
    """
    steps = model.stages(x[None])
    if model.classifier is not None:
        steps["classes"] = model.classifier(steps["y"])
    return _first(steps)


@torch.no_grad()
def vae_maps(model: GaussianVAE, x: Tensor) -> dict[str, Tensor]:
    """The steps of encoder and decoder, with z at the posterior's mean.

    Shapes: as of `resnet_maps`.
    """
    parts = ("f_in", "h", "f_mean")
    names = [f"{half}.{part}" for half in ("encoder", "decoder") for part in parts]
    with _noted(model, {name: name for name in names}) as steps:
        z = model.encode(x[None]).mean
        image, _ = model.decode(z)
    steps["decoder.f_in"] = steps["decoder.f_in"].view(1, *model.config.grid_shape)  # from (b, n)
    steps["decoder.f_mean"] = image  # what was padded is cropped off
    after = list(steps)
    order = [*after[:3], "z", *after[3:]]
    return _first({name: z if name == "z" else steps[name] for name in order})


@torch.no_grad()
def denoiser_maps(model: Denoiser, recipe: Recipe, x: Tensor, t: float) -> dict[str, Tensor]:
    """The image with the noise of a time, x_t, and what each step of the U-Net makes of it.

    It is told no class, and the vector of its recipe's first example where it takes one.

    Shapes: as of `resnet_maps`; ``x_t`` and ``y`` are on the scale −1 … 1.
    """
    time = torch.full((1,), t, device=x.device)
    noise = numbered_normal("feature maps", 0, [0], tuple(x.shape)).to(x.device)
    noisy = diffuse(2 * x[None] - 1, noise, recipe.log_snr(time))
    condition = recipe.usual(model, [0])
    if num_classes(model):
        condition = condition._replace(labels=torch.tensor([NO_LABEL]))
    with _noted(model, _unet_modules(model.unet)) as steps:
        bind(model, recipe, condition.to(x.device))(noisy, time)
    return _first({"x_t": noisy, **steps})


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
