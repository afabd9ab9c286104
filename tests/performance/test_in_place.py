"""Blocks that write where their inputs were compute the same, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.performance.in_place import FastBottleneckBlock, FastResidualBlock

FAST = {ResidualBlock: FastResidualBlock, BottleneckBlock: FastBottleneckBlock}
BLOCKS = {
    "residual": lambda: ResidualBlock(6),
    "residual, other shape": lambda: ResidualBlock(6, 8, stride=2, dropout=0.3),
    "bottleneck": lambda: BottleneckBlock(6, 4),
    "bottleneck, other shape": lambda: BottleneckBlock(6, 4, 8, stride=2, dropout=0.3),
    "signals": lambda: ResidualBlock(6, ndim=1),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_outputs_gradients_and_statistics(name: str, training: bool):
    torch.manual_seed(0)
    plain = BLOCKS[name]().train(training)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    fast = copy.deepcopy(plain)
    fast.__class__ = FAST[type(plain)]
    x = torch.randn(3, 6, *(7,) * plain.conv1.ndim)
    found = []
    for block in (plain, fast):
        own = (2 * x).requires_grad_()
        torch.manual_seed(1)  # of dropout
        y = block(own / 2)  # what a block is given may be needed by others
        y.square().sum().backward()
        gradients = [parameter.grad for parameter in block.parameters()]
        found.append([y, own.grad, *gradients, *block.buffers()])
    for ours, expected in zip(*found, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_block_is_given_stays(name: str):
    block = BLOCKS[name]()
    block.__class__ = FAST[type(block)]
    x = torch.randn(3, 6, *(7,) * block.conv1.ndim)
    before = x.clone()
    block(x)
    assert torch.equal(x, before)
