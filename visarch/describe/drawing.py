"""Drawing a network, each architecture in its own shape."""

from __future__ import annotations

from visarch.describe.description import Description
from visarch.describe.draw_resnet import draw_resnet
from visarch.describe.draw_unet import draw_unet
from visarch.describe.draw_vae import draw_vae

_DRAW = {"ResNet": draw_resnet, "UNet": draw_unet, "Denoiser": draw_unet, "GaussianVAE": draw_vae}


def draw(description: Description) -> str:
    """A network as the text of an SVG file: a row of stages, a U, or two halves around z."""
    return _DRAW[description.architecture](description)
