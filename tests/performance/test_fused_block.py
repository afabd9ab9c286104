"""ResBlockU with fused norms is ResBlockU."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.models.weights import randomize
from visarch.models.unet import ResBlockU
from visarch.performance import preparation
from visarch.performance.fused_block import FusedResBlockU


def fused(block: ResBlockU) -> FusedResBlockU:
    made = copy.deepcopy(block)
    made.__class__ = FusedResBlockU
    assert isinstance(made, FusedResBlockU)
    return made


@pytest.mark.parametrize(("in_channels", "ndim"), [(8, 2), (12, 2), (8, 1), (8, 3)])
def test_output_and_gradients_are_the_same(in_channels: int, ndim: int):
    block = randomize(ResBlockU(in_channels, 8, context_dim=5, num_groups=4, ndim=ndim)).eval()
    x, u = torch.randn(2, in_channels, *(4,) * ndim), torch.randn(2, 5)
    found = []
    for each in (block, fused(block)):
        inputs = [x.clone().requires_grad_(), u.clone().requires_grad_()]
        y = each(*inputs)
        of_y = torch.linspace(-1, 1, y.numel()).view_as(y)
        y.backward(of_y)
        found.append([y, *(t.grad for t in inputs), *(p.grad for p in each.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_it_drops_as_often_as_it_should():
    block = fused(ResBlockU(32, 32, context_dim=5, dropout=0.25)).train()
    seen: list[Tensor] = []
    block.conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    block(torch.randn(8, 32, 16, 16), torch.randn(8, 5))
    assert float((seen[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_a_mask_that_processes_share_is_asked_for():
    block = fused(ResBlockU(32, 32, context_dim=5, dropout=0.25)).train()
    asked: list[Tensor] = []

    def shared(x: Tensor) -> Tensor:
        asked.append(x)
        return x

    block.dropout.forward = shared  # type: ignore[method-assign]
    x, u = torch.randn(2, 32, 4, 4), torch.randn(2, 5)
    first, second = block(x, u), block(x, u)
    assert len(asked) == 2
    assert torch.equal(first, second)


def test_it_is_for_gpus():
    assert {ResBlockU: FusedResBlockU} == preparation._ON_GPU
    block = nn.Sequential(ResBlockU(32, 32, context_dim=5))
    preparation.quicken(block)
    assert type(block[0]) is ResBlockU
