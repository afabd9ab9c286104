"""Claims about the U-Net (note, 2.2 and B.2)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from visarch.blocks.attention import Attn
from visarch.blocks.normalization import GroupNorm
from visarch.models.unet import ResBlockU, ResidualAttn, UNet, UNetConfig
from visarch.reference import unet as reference
from visarch.reference.attention import attn as reference_attn
from visarch.reference.normalization import group_norm as reference_group_norm
from visarch.reference.weights import part
from visarch.verify.claim import (
    EXACT,
    STATISTICAL,
    Array,
    Draw,
    Errors,
    cast,
    claim,
    errors,
    run,
    standard_errors,
    tensor,
    weights,
    wrong,
)


def draw_unet(draw: Draw) -> tuple[UNet, Array, Array]:
    """The note's U with narrow levels, an image and a context, both as batches of one."""
    config = UNetConfig(
        in_channels=2,
        widths=(2, 4, 4, 6),
        num_groups=2,
        num_heads=draw.integer(1, 2),
        context_dim=3,
        ndim=draw.ndim,
    )
    side = {1: 16, 2: 8, 3: 8}[draw.ndim]
    x = draw.array(1, 2, *(side,) * draw.ndim)
    return draw.fill(UNet(config)).eval(), x, draw.array(1, 3)


def first(steps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every step's image out of its batch of one."""
    return {name: image[0] for name, image in steps.items()}


def named_steps(model: nn.Module, *inputs: Any) -> dict[str, Tensor]:
    """What the modules that carry a step's name (z1 …, y13 …, y10_bar …) put out."""
    steps: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, arguments, output: steps.update({name: output})

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_children()]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return steps


@claim("ResBlockU is its lines, context and shortcut included", "note, B.2")
def res_block_u_is_its_lines(draw: Draw) -> Errors:
    channels, out_channels = 2 * draw.integer(1, 2), 2 * draw.integer(1, 2)
    block = ResBlockU(channels, out_channels, context_dim=3, num_groups=2, ndim=draw.ndim)
    draw.fill(block).eval()
    x, u = draw.array(channels, *draw.sizes(1, 4 if draw.ndim < 3 else 3)), draw.array(3)
    expected = reference.res_block_u(x, u, weights(block), num_groups=2)
    return errors(
        lambda dtype: cast(block, dtype)(tensor(x, dtype)[None], tensor(u, dtype)[None])[0],
        expected,
    )


@claim("Descend makes z₁ … z₁₂ as its lines do", "note, B.2", cases=3)
def descend_is_its_lines(draw: Draw) -> Errors:
    model, x, u = draw_unet(draw)
    expected = reference.descend(
        x[0], u[0], weights(model.descend), num_groups=2, num_heads=model.config.num_heads
    )
    return errors(
        lambda dtype: first(cast(model.descend, dtype)(tensor(x, dtype), tensor(u, dtype))),
        expected,
    )


@claim("Ascend makes y₁₃ … y₁ and ȳ₁₀, ȳ₇, ȳ₄ as its lines do", "note, B.2", cases=3)
def ascend_is_its_lines(draw: Draw) -> Errors:
    model, x, u = draw_unet(draw)
    z = {name: image.numpy() for name, image in first(model.descend(tensor(x), tensor(u))).items()}
    expected = reference.ascend(
        z, u[0], weights(model.ascend), num_groups=2, num_heads=model.config.num_heads
    )

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        images = {name: tensor(image, dtype)[None] for name, image in z.items()}
        return first(named_steps(cast(model.ascend, dtype), images, tensor(u, dtype)))

    return errors(ours, expected)


@claim("UNet is Descend, Ascend, Conv(swish(GroupNorm(y₁)))", "note, 2.2 (decision 6)", cases=3)
def unet_is_its_lines(draw: Draw) -> Errors:
    model, x, u = draw_unet(draw)
    expected = reference.unet(
        x[0], u[0], weights(model), num_groups=2, num_heads=model.config.num_heads
    )
    return errors(
        lambda dtype: cast(model, dtype)(tensor(x, dtype), tensor(u, dtype))[0], expected["y"]
    )


@cache
def notes_unet() -> UNet:
    """The U-Net of the note, without memory for its weights."""
    with torch.device("meta"):
        return UNet(UNetConfig())


@claim("the U-Net's sizes at all 29 named steps", "note, B.2", measure=EXACT, cases=1)
def unet_sizes(draw: Draw) -> Errors:
    model = notes_unet()
    with torch.device("meta"):
        x, u = torch.empty(2, 3, 32, 32), torch.empty(2, 256)
    steps = named_steps(model.descend, x, u)
    steps |= named_steps(model.ascend, steps, u)
    steps["y"] = model(x, u)
    table = {
        (64, 32): "z1 z2 z3 y4 y3 y2 y1",
        (64, 16): "z4 y4_bar",
        (128, 16): "z5 z6 y7 y6 y5",
        (128, 8): "z7 y7_bar",
        (256, 8): "z8 z9 y10 y9 y8",
        (256, 4): "z10 y10_bar",
        (1024, 4): "z11 z12 y13 y12 y11",
        (3, 32): "y",
    }
    expected = {
        name: (2, channels, side, side)
        for (channels, side), names in table.items()
        for name in names.split()
    }
    return wrong(
        steps.keys() == expected.keys(),
        *(steps[name].shape == shape for name, shape in expected.items()),
    )


@claim("the U-Net has 168,803,523 parameters", "note, 2.2 (decision 6)", measure=EXACT, cases=1)
def unet_parameters(draw: Draw) -> Errors:
    return wrong(sum(each.numel() for each in notes_unet().parameters()) == 168_803_523)


@claim(
    "attention at z₈ z₉ z₁₁ z₁₂, y₁₃ … y₈, ȳ₁₀, ȳ₇, not at ȳ₄",
    "note, B.2 (decision 7)",
    measure=EXACT,
    cases=1,
)
def unet_attends_where_printed(draw: Draw) -> Errors:
    model = notes_unet()
    attending = {
        name.split(".")[0]
        for half in (model.descend, model.ascend)
        for name, _ in half.named_parameters()
        if ".attention." in name
    }
    printed = "z8 z9 z11 z12 y13 y12 y11 y10_bar y9 y8 y7_bar"
    return wrong(attending == set(printed.split()))


@claim(
    "the U-Net costs 3.99 GMAC for a 32×32 image", "note, 2.2 (decision 6)", measure=EXACT, cases=1
)
def unet_multiplications(draw: Draw) -> Errors:
    model = notes_unet()
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32), torch.empty(1, 256))
    return wrong(round(counter.get_total_flops() / 2 / 1e9, 2) == 3.99)


@claim(
    "G = 32, ε = 0.00001 and dropout 0.1 throughout the U-Net",
    "note, A.1 and B.2",
    measure=EXACT,
    cases=1,
)
def unet_constants(draw: Draw) -> Errors:
    modules = list(notes_unet().modules())
    norms = [module for module in modules if isinstance(module, GroupNorm)]
    blocks = [module for module in modules if isinstance(module, ResBlockU)]
    return wrong(
        len(norms) == 2 * len(blocks) + 1,
        all(norm.num_groups == 32 and norm.epsilon == 1e-5 for norm in norms),
        all(block.dropout.p == 0.1 for block in blocks),
    )


@claim(
    "Drop₀.₁ drops a tenth of what the second convolution sees",
    "note, B.2",
    cases=6,
    measure=STATISTICAL,
)
def dropout_drops_a_tenth(draw: Draw) -> Errors:
    block = draw.fill(ResBlockU(2, 4, context_dim=3, num_groups=2, ndim=draw.ndim)).train()
    seen: list[Tensor] = []
    block.conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.integer(0, 2**31))
        side = {1: 64, 2: 8, 3: 4}[draw.ndim]
        block(tensor(draw.array(20, 2, *(side,) * draw.ndim)), tensor(draw.array(20, 3)))
    return standard_errors((seen[0] == 0).double().flatten().numpy(), 0.1)


@claim("the other forms: x + Attn(x), x + Attn(GroupNorm(x))", "note, 1.3 (decision 4)")
def attention_forms(draw: Draw) -> Errors:
    attn = Attn(4, num_heads=draw.integer(1, 2), ndim=draw.ndim)
    residual = draw.fill(ResidualAttn(attn, nn.Identity()))
    prenorm = draw.fill(ResidualAttn(Attn(4, ndim=draw.ndim), GroupNorm(4, num_groups=2)))
    x = draw.array(4, *draw.sizes(2, 3))
    normed = reference_group_norm(x[np.newaxis], part(weights(prenorm), "norm"), num_groups=2)[0]
    expected = {
        "residual": x + reference_attn(x, weights(attn), num_heads=attn.num_heads),
        "prenorm": x + reference_attn(normed, part(weights(prenorm), "attn")),
    }

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        forms = {"residual": residual, "prenorm": prenorm}
        return {name: run(form, x[np.newaxis])(dtype)[0] for name, form in forms.items()}

    return errors(ours, expected)


@claim("every pixel moves alike with U swish(u) + b", "note, B.2")
def context_is_added_to_every_pixel(draw: Draw) -> Errors:
    block = draw.fill(ResBlockU(2, 4, context_dim=3, num_groups=2, ndim=draw.ndim)).eval()
    x, u = draw.array(1, 2, *draw.sizes(2, 3)), draw.array(1, 3)
    # z₂ is what the second normalization sees; z₁ is what it sees when U and b are zero.
    linear = weights(block.context)
    shift = linear["weight"] @ reference.swish(u[0]) + linear["bias"]

    def shifts(dtype: torch.dtype) -> Tensor:
        seen: list[Tensor] = []
        copy = cast(block, dtype)
        copy.norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        copy(tensor(x, dtype), tensor(u, dtype))
        nn.init.zeros_(copy.context.weight)
        nn.init.zeros_(copy.context.bias)
        copy(tensor(x, dtype), tensor(u, dtype))
        return seen[0] - seen[1]

    expected = np.broadcast_to(shift.reshape(1, 4, *(1,) * draw.ndim), (1, 4, *x.shape[2:]))
    return errors(shifts, expected)
