"""labml.ai's diffusion U-Net and DDPM, from which the note's U-Net descends."""

from dataclasses import replace
from typing import Any

import torch

from visarch.bench.peers import adopt
from visarch.foreign.labml import LAST_GROUPS, NUM_STEPS, UNUSED, their_names
from visarch.models.unet import Denoiser, UNetConfig


def like_labml(config: UNetConfig) -> Denoiser:
    """Our denoiser with what theirs has otherwise: eight groups in the last GroupNorm.

    That their attention keeps a shortcut is ``attention="residual"``; that it makes a GroupNorm,
    which it then never applies, has no place here.
    """
    return Denoiser(replace(config, last_groups=LAST_GROUPS))


def unet(ours: Denoiser) -> Any:
    """Their U-Net of the same sizes, with our weights; it takes times from 0 to 1000."""
    from labml_nn.diffusion.ddpm.unet import UNet

    config = ours.config
    above = (config.widths[0], *config.widths)
    theirs = UNet(
        image_channels=config.in_channels,
        n_channels=config.widths[0],
        ch_mults=[b // a for a, b in zip(above, config.widths, strict=False)],
        is_attn=list(config.attends),
        n_blocks=config.num_blocks,
    )
    names = their_names(ours)
    weights = {names[name]: tensor for name, tensor in ours.state_dict().items()}
    return adopt(theirs, weights, unused=UNUSED)


def diffusion(network: Any) -> Any:
    """Their DDPM of 1,000 steps around a network of (x, times from 0 to 999) that predicts ε."""
    from labml_nn.diffusion.ddpm import DenoiseDiffusion

    return DenoiseDiffusion(network, NUM_STEPS, torch.device("cpu"))
