"""One pass over the weights gives what the optimizer and the average give one after the other."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from visarch.performance.update import pieces, update


@pytest.mark.parametrize("sizes", [[], [1], [16, 5], [30, 10, 1], [7, 0, 220]])
@pytest.mark.parametrize("largest", [16, 32, 160])
def test_pieces_cover_every_weight_once_and_none_is_too_large(sizes: list[int], largest: int):
    lots = list(pieces(sizes, largest))
    seen = [
        (piece.tensor, index)
        for piece in chain.from_iterable(lots)
        for index in range(piece.start, piece.stop)
    ]
    assert seen == [(tensor, index) for tensor, size in enumerate(sizes) for index in range(size)]
    assert all(0 < sum(piece.stop - piece.start for piece in lot) <= largest for lot in lots)
    assert all(piece.start % 16 == 0 for piece in chain.from_iterable(lots))
    assert len(lots) <= sum(sizes) // largest + len(sizes)


def network(memory_format: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 3), nn.Flatten()
    return nn.Sequential(*layers).to(memory_format=memory_format)  # type: ignore[call-overload]


def optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    rest = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=0.01, fused=True)
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, fused=True)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("largest", [16, 96, 16_000])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_optimizers_step_and_then_the_average_bit_for_bit(
    kind: str, largest: int, layout: torch.memory_format
):
    ours, theirs = network(layout), network(torch.contiguous_format)
    our_optimizer, their_optimizer = optimizer(kind, ours), optimizer(kind, theirs)
    averages = {weight: weight.detach().clone() for weight in ours.parameters()}
    expected = [weight.detach().clone() for weight in theirs.parameters()]
    for step in range(1, 5):
        x = torch.randn(4, 3, 9, 9)
        theirs.zero_grad()
        theirs(x).square().mean().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            # gradients come as backward makes them, whose layout need not be that of the weight
            mine.grad = None if other.grad is None else other.grad.clone()
        update(our_optimizer, averages, 1 / step, largest=largest)
        their_optimizer.step()
        torch._foreach_lerp_(expected, [w.detach() for w in theirs.parameters()], 1 / step)
        assert_same(list(ours.parameters()), list(theirs.parameters()))
        assert_same(list(averages.values()), expected)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_state_is_the_optimizers_own(kind: str):
    ours, theirs = network(torch.contiguous_format), network(torch.contiguous_format)
    our_optimizer, their_optimizer = optimizer(kind, ours), optimizer(kind, theirs)
    averages = {weight: weight.detach().clone() for weight in ours.parameters()}
    for model in (ours, theirs):
        model(torch.ones(2, 3, 9, 9)).square().mean().backward()
    update(our_optimizer, averages, 0.5)
    their_optimizer.step()
    mine, other = our_optimizer.state_dict()["state"], their_optimizer.state_dict()["state"]
    assert mine.keys() == other.keys()
    for index, state in other.items():
        assert mine[index].keys() == state.keys()
        assert_same(list(mine[index].values()), list(state.values()))


def test_weights_without_a_gradient_stay_as_they_are():
    model = network(torch.contiguous_format)
    before = [weight.detach().clone() for weight in model.parameters()]
    averages = {weight: weight.detach().clone() for weight in model.parameters()}
    update(optimizer("adamw", model), averages, 0.5)
    assert_same(list(model.parameters()), before)


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
