"""labml.ai's DDPM U-Net (``labml_nn.diffusion.ddpm.unet``), from which the note's descends.

Beside the note's network it has a shortcut around attention (``attention="residual"``), eight
groups in its last GroupNorm (``last_groups=8``), and GroupNorms in attention that it never applies,
whose weights are left out. Its times run from 0 to 1000, ours from 0 to 1.
"""

import math
import re
from collections.abc import Mapping
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visarch.blocks.convolution import Conv, TransConv
from visarch.errors import UserError
from visarch.foreign.files import Weights
from visarch.foreign.filling import filled, require
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser

NUM_STEPS = 1000
LAST_GROUPS = 8
"""Groups of the last GroupNorm, whatever the others have."""
_GROUPS = 32
UNUSED = ".attn.norm."
"""In the names of the GroupNorms that are never applied."""


def denoiser(weights: Weights) -> Denoiser:
    """The U-Net of these weights with its time embedding; sizes and attention go by their shapes.

    Raises:
        UserError: they are not those of labml.ai's U-Net, or of one that visarch has not.
    """
    config = configuration(weights)
    with torch.device("meta"):
        names = their_names(Denoiser(config))
    unused = [name for name in weights if UNUSED in name]
    return filled(
        lambda: Denoiser(config), weights, names.__getitem__, unused=unused, package="labml.ai"
    )


def configuration(weights: Weights) -> UNetConfig:
    """What the shapes tell of the U-Net.

    Raises:
        UserError: they are not those of one that visarch has.
    """
    network = "DDPM U-Net of labml.ai"
    needed = {"image_proj.weight": 4, "time_emb.lin2.weight": 2, "down.0.res.conv1.weight": 4}
    require(weights, network, needed)
    levels = _levels(weights)
    convolutions = [f"down.{level[0]}.res.conv1.weight" for level in levels]
    projections = [name for name in weights if name.endswith(".attn.projection.weight")]
    require(weights, network, dict.fromkeys(convolutions, 4) | dict.fromkeys(projections, 2))
    widths = [len(weights[name]) for name in convolutions]
    attends = [f"down.{level[0]}.attn.projection.weight" in weights for level in levels]
    first, in_channels = weights["image_proj.weight"].shape[:2]
    reasons = []
    if len({len(level) for level in levels}) > 1:
        reasons.append(f"its levels have {[len(level) for level in levels]} blocks, not equally")
    if first != widths[0]:
        reasons.append(
            f"its first level widens {first} channels to {widths[0]} (ch_mults[0] is not 1), where "
            "the note's keeps them"
        )
    if not attends[-1]:
        reasons.append(
            "its lowest level does not attend and its middle block does, where the note's attend "
            "together"
        )
    reasons += [
        f"{name} is {tuple(weights[name].shape)}, of other heads than one of all channels"
        for name in projections
        if len(weights[name]) != 3 * weights[name].shape[1]
    ]
    reasons += [
        f"its {width} channels are no multiple of {_GROUPS}, its groups"
        for width in widths
        if width % _GROUPS
    ]
    if reasons:
        raise UserError(f"visarch has no such U-Net of labml.ai: {'; '.join(reasons)}.")
    return UNetConfig(
        in_channels=in_channels,
        widths=widths,
        num_blocks=len(levels[0]),
        attends=attends,
        attention="residual",
        num_groups=_GROUPS,
        last_groups=LAST_GROUPS,
        context_dim=len(weights["time_emb.lin2.weight"]),
    )


def their_names(ours: Denoiser) -> dict[str, str]:
    """The name that each of our tensors has in their U-Net of the same sizes."""
    descend, ascend = ours.unet.descend, ours.unet.ascend
    first, *down = [f"unet.descend.{name}." for name in descend]
    turn, *up = [f"unet.ascend.{name}." for name in ascend]
    resampling = [
        f"{path}.{index}."
        for path, modules in (("down", descend), ("up", ascend))
        for index, module in enumerate(list(modules.values())[1:])
        if isinstance(module, Conv | TransConv)
    ]
    replaced = [
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
        *((name, f"{name}conv.") for name in resampling),
    ]
    names = {}
    for name in ours.state_dict():
        theirs = name
        for old, new in replaced:
            theirs = theirs.replace(old, new)
        names[name] = theirs
    return names


def outputs(
    weights: Mapping[str, Tensor], x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """What their network makes of images at times from 0 to 1000, written out over their names."""

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        side = weight.shape[-1] // 2
        return functional.conv2d(x, weight, weights[f"{name}.bias"], stride, side)

    def norm(x: Tensor, name: str, groups: int = _GROUPS) -> Tensor:
        return functional.group_norm(x, groups, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def residual(x: Tensor, at: str) -> Tensor:
        y = conv(functional.silu(norm(x, f"{at}.norm1")), f"{at}.conv1")
        y = y + linear(functional.silu(u), f"{at}.time_emb")[:, :, None, None]
        y = conv(functional.silu(norm(y, f"{at}.norm2")), f"{at}.conv2")
        return y + (conv(x, f"{at}.shortcut") if f"{at}.shortcut.weight" in weights else x)

    def attention(x: Tensor, at: str) -> Tensor:
        if f"{at}.projection.weight" not in weights:
            return x
        pixels = x.flatten(2).transpose(1, 2)  # (b, n, C)
        query, key, value = linear(pixels, f"{at}.projection").chunk(3, -1)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        mixed = linear(scores.softmax(-1) @ value, f"{at}.output") + pixels
        return mixed.transpose(1, 2).reshape(x.shape)

    half = weights["time_emb.lin1.weight"].shape[1] // 2
    angles = t[:, None] * torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
    u = linear(torch.cat([angles.sin(), angles.cos()], 1), "time_emb.lin1")
    u = linear(functional.silu(u), "time_emb.lin2")

    x = conv(x, "image_proj")
    waiting = [x]
    for at in _numbered(weights, "down"):
        resamples = f"{at}.conv.weight" in weights
        x = (
            conv(x, f"{at}.conv", 2)
            if resamples
            else attention(residual(x, f"{at}.res"), f"{at}.attn")
        )
        waiting.append(x)
    x = residual(attention(residual(x, "middle.res1"), "middle.attn"), "middle.res2")
    for at in _numbered(weights, "up"):
        if f"{at}.conv.weight" in weights:
            bias = weights[f"{at}.conv.bias"]
            x = functional.conv_transpose2d(x, weights[f"{at}.conv.weight"], bias, 2, 1)
        else:
            x = residual(torch.cat([x, waiting.pop()], 1), f"{at}.res")
            x = attention(x, f"{at}.attn")
    return conv(functional.silu(norm(x, "norm", LAST_GROUPS)), "final")


def _levels(weights: Mapping[str, Tensor]) -> list[list[int]]:
    """The numbers of the blocks of each level on the way down."""
    places = _numbered(weights, "down")
    is_block = [f"{place}.res.conv1.weight" in weights for place in places]
    groups = groupby(range(len(places)), key=is_block.__getitem__)
    return [list(level) for blocks, level in groups if blocks]


def _numbered(weights: Mapping[str, Tensor], path: str) -> list[str]:
    """``down.0``, ``down.1``, … in order."""
    found = (re.match(rf"{path}\.(\d+)\.", name) for name in weights)
    return [f"{path}.{number}" for number in sorted({int(place[1]) for place in found if place})]
