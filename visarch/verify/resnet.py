"""Claims about ResNet (note, 2.1 and B.1)."""

from __future__ import annotations

import torch

from visarch.models.resnet import ResNet, ResNetConfig, ResStack, resnet50
from visarch.reference import resnet as reference
from visarch.verify.claim import (
    EXACT,
    Draw,
    Errors,
    cast,
    claim,
    errors,
    run,
    tensor,
    weights,
    wrong,
)


@claim("ResStack is one reducing block and B − 1 more", "note, B.1")
def res_stack_is_its_steps(draw: Draw) -> Errors:
    channels, inner, num_blocks = draw.integer(1, 4), draw.integer(1, 2), draw.integer(1, 3)
    stride = draw.integer(1, 2)
    stack = ResStack(channels, inner, num_blocks=num_blocks, stride=stride, ndim=draw.ndim)
    draw.fill(stack).train(draw.choice([True, False]))
    side = {1: 8, 2: 4, 3: 2}[draw.ndim]
    x = draw.array(3, channels, *(side,) * draw.ndim)
    expected = reference.res_stack(
        x, weights(stack), num_blocks=num_blocks, stride=stride, training=stack.training
    )
    return errors(run(stack, x), expected)


@claim("a small ResNet equals the literal one at every named step", "note, 2.1", cases=9)
def resnet_is_its_steps(draw: Draw) -> Errors:
    depths, widths = ((2, 1, 1), (2, 1, 2)) if draw.ndim < 3 else ((1, 2), (1, 2))
    config = ResNetConfig(in_channels=2, depths=depths, widths=widths, ndim=draw.ndim)
    model = draw.fill(ResNet(config)).eval()
    side = {1: 16, 2: 8, 3: 4}[draw.ndim]
    x = draw.array(2, 2, *(side,) * draw.ndim)
    expected = reference.resnet(x, weights(model), depths=depths, training=False)
    return errors(lambda dtype: cast(model, dtype).stages(tensor(x, dtype)), expected)


@claim("ResNet-50's sizes at every named step", "note, 2.1", measure=EXACT, cases=1)
def resnet50_sizes(draw: Draw) -> Errors:
    with torch.device("meta"):
        steps = resnet50().stages(torch.empty(2, 3, 32, 32))
    table = {
        "z": (64, 32, 32),
        "z1": (256, 32, 32),
        "z2": (512, 16, 16),
        "z3": (1024, 8, 8),
        "z4": (2048, 4, 4),
        "y": (2048,),
    }
    return wrong(
        list(steps) == list(table), *(steps[name].shape[1:] == table[name] for name in table)
    )


@claim("ResNet-50 has 23,500,352 parameters", "note, 2.1 (decision 5)", measure=EXACT, cases=1)
def resnet50_parameters(draw: Draw) -> Errors:
    with torch.device("meta"):
        model = resnet50()
    return wrong(sum(each.numel() for each in model.parameters()) == 23_500_352)
