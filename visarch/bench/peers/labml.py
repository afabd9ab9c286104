"""labml.ai's diffusion U-Net and DDPM, from which the note's U-Net descends."""

from typing import Any

import torch

from visarch.bench.peers import adopt, renamed
from visarch.models.unet import Denoiser, UNetConfig

LAST_GROUPS = 8
"""Groups of their last GroupNorm, whatever the others have."""
NUM_STEPS = 1000


def like_labml(config: UNetConfig) -> Denoiser:
    """Our denoiser with what theirs has otherwise: eight groups in the last GroupNorm.

    That their attention keeps a shortcut is ``attention="residual"``; that it makes a GroupNorm,
    which it then never applies, has no place here.
    """
    model = Denoiser(config)
    model.unet.norm.num_groups = LAST_GROUPS
    return model


def unet(ours: Denoiser) -> Any:
    """Their U-Net of the same sizes, with our weights; it takes times from 0 to 1000."""
    from labml_nn.diffusion.ddpm.unet import Downsample, UNet, Upsample

    config = ours.config
    above = (config.widths[0], *config.widths)
    theirs = UNet(
        image_channels=config.in_channels,
        n_channels=config.widths[0],
        ch_mults=[b // a for a, b in zip(above, config.widths, strict=False)],
        is_attn=list(config.attends),
        n_blocks=config.num_blocks,
    )
    first, *down = [f"unet.descend.{name}." for name in ours.unet.descend]
    turn, *up = [f"unet.ascend.{name}." for name in ours.unet.ascend]
    resamplings = [
        f"{path}.{index}."
        for path in ("down", "up")
        for index, module in enumerate(getattr(theirs, path))
        if isinstance(module, Downsample | Upsample)
    ]
    names = [
        ("context.time1.", "time_emb.lin1."),
        ("context.time2.", "time_emb.lin2."),
        (first, "image_proj."),
        *((name, f"down.{index}.") for index, name in enumerate(down)),
        (f"{turn}first.block.", "middle.res1."),
        (f"{turn}first.attention.", "middle.attention."),
        (f"{turn}second.block.", "middle.res2."),
        *((name, f"up.{index}.") for index, name in enumerate(up)),
        ("unet.norm.", "norm."),
        ("unet.conv.", "final."),
        ("block.", "res."),
        ("attention.attn.", "attn."),
        ("context.", "time_emb."),
        *((name, f"{name}conv.") for name in resamplings),
    ]
    return adopt(theirs, renamed(ours.state_dict(), names), unused=".attn.norm.")


def diffusion(network: Any) -> Any:
    """Their DDPM of 1,000 steps around a network of (x, times from 0 to 999) that predicts ε."""
    from labml_nn.diffusion.ddpm import DenoiseDiffusion

    return DenoiseDiffusion(network, NUM_STEPS, torch.device("cpu"))
