import math

import pytest
import torch
from torch import Tensor, nn

from visarch.performance.clipping import clip_gradients


def parameters() -> list[Tensor]:
    made = [
        nn.Parameter(torch.zeros(3, 4)),
        nn.Parameter(torch.zeros(5)),
        nn.Parameter(torch.ones(2)),
    ]
    made[0].grad, made[1].grad = torch.randn(3, 4), torch.randn(5)
    return list(made)


@pytest.mark.parametrize("largest", [0.1, 1.0, 100.0, math.inf])
def test_it_does_what_torchs_does(largest: float):
    ours, theirs = parameters(), parameters()
    for mine, other in zip(ours, theirs, strict=True):
        other.grad = None if mine.grad is None else mine.grad.clone()
    norm = clip_gradients(ours, largest)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, largest))
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)


def test_small_gradients_are_not_touched():
    ours = parameters()
    versions = [p.grad._version for p in ours if p.grad is not None]
    clip_gradients(ours, 1e6)
    assert versions == [p.grad._version for p in ours if p.grad is not None]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_told(bad: float):
    ours = parameters()
    assert ours[0].grad is not None
    ours[0].grad[0, 0] = bad
    assert not math.isfinite(clip_gradients(ours, 1.0))
