"""Functions and optimizers that torch's compiler leaves alone, without being loaded for that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from visarch.performance.uncompiled import SGD, AdamW, uncompiled

OPTIMIZERS = {
    "adamw": (AdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
    "sgd": (SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Counter:
    """What cannot be traced: it depends on how often it was called before."""

    def __init__(self) -> None:
        self.count = 0
        self.traced: list[bool] = []

    @uncompiled
    def draw(self, shape: int) -> Tensor:
        """The next draw."""
        self.count += 1
        self.traced.append(torch.compiler.is_compiling())
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.count))


def test_a_function_is_run_as_it_is_within_what_is_compiled():
    def noisy(x: Tensor, counter: Counter) -> Tensor:
        return x.sin() + counter.draw(4) + counter.draw(4)

    traced = 0

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        nonlocal traced
        traced += 1
        return graph.forward

    plain, ours, compiled = Counter(), Counter(), torch.compile(noisy, backend=backend)
    for _ in range(3):
        x = torch.randn(4)
        assert torch.equal(compiled(x, ours), noisy(x, plain))
    assert ours.count == plain.count == 6
    assert ours.traced == [False] * 6
    assert 0 < traced <= 3  # the rest is compiled, and not again in each step


def test_a_function_keeps_its_name_and_words():
    assert Counter.draw.__name__ == "draw"
    assert Counter.draw.__doc__ == "The next draw."


def trained(kind: type[torch.optim.Optimizer], options: dict, *, steps: int = 3) -> nn.Module:
    """A model after some steps, in the middle of which the optimizer is kept and taken up again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters()}]
    optimizer = kind(groups, lr=0.01, **options)
    for step in range(steps):
        if step == 1:
            state = optimizer.state_dict()
            optimizer = kind(groups, lr=0.01, **options)
            optimizer.load_state_dict(state)
        model(torch.randn(7, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(p.grad is None for p in model.parameters())
    return model


@every_optimizer
@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_is_torchs(name: str, fused: bool):
    ours, theirs, options = OPTIMIZERS[name]
    expected = trained(theirs, options | {"fused": fused}).parameters()
    for actual, wanted in zip(
        trained(ours, options | {"fused": fused}).parameters(), expected, strict=True
    ):
        assert torch.equal(actual, wanted)


@every_optimizer
def test_a_step_leaves_no_trace_in_autograd(name: str):
    ours, _, options = OPTIMIZERS[name]
    weight = nn.Parameter(torch.ones(2))
    weight.square().sum().backward()
    ours([weight], lr=0.1, **options).step()
    assert weight.is_leaf
    assert torch.is_grad_enabled()
