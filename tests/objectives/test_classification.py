"""Cross-entropy against torch.nn.functional and NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from visarch.data.augmentation import mixup
from visarch.objectives.classification import cross_entropy, is_correct, smooth_targets

batches, class_counts = st.integers(1, 5), st.integers(1, 7)
smoothings = st.sampled_from([0.0, 0.1, 0.5])


def draw(batch: int, classes: int) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(batch, classes), torch.randint(classes, (batch,))


@given(batches, class_counts, smoothings)
def test_the_loss_is_torchs(batch: int, classes: int, smoothing: float):
    logits, labels = draw(batch, classes)
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    loss = cross_entropy(logits, smooth_targets(labels, classes, smoothing))
    torch.testing.assert_close(loss, expected)


@given(batches, class_counts)
def test_the_loss_of_soft_targets_is_written_out(batch: int, classes: int):
    logits = 3 * torch.randn(batch, classes, dtype=torch.float64)
    targets = torch.rand(batch, classes, dtype=torch.float64)
    exponentials = np.exp(logits.numpy())
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    expected = -(targets.numpy() * np.log(probabilities)).sum(1)
    np.testing.assert_allclose(cross_entropy(logits, targets), expected, rtol=1e-12)


@given(batches, class_counts, smoothings)
def test_smoothed_targets_are_distributions(batch: int, classes: int, smoothing: float):
    _, labels = draw(batch, classes)
    targets = smooth_targets(labels, classes, smoothing)
    torch.testing.assert_close(targets.sum(1), torch.ones(batch))
    other = torch.full_like(targets, smoothing / classes)
    other[torch.arange(batch), labels] += 1 - smoothing
    torch.testing.assert_close(targets, other)


def test_mixed_targets_give_the_mixture_of_the_losses():
    logits, labels = draw(4, 5)
    targets, weights = smooth_targets(labels, 5, 0.1), torch.rand(4)
    _, mixed = mixup(torch.rand(4, 1, 2), targets, weights)
    own, others = (cross_entropy(logits, t) for t in (targets, targets[[1, 0, 3, 2]]))
    torch.testing.assert_close(cross_entropy(logits, mixed), weights * own + (1 - weights) * others)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_widened_first(dtype: torch.dtype):
    logits, labels = draw(3, 6)
    narrow = (10 * logits).to(dtype)
    loss = cross_entropy(narrow, smooth_targets(labels, 6, 0.1))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(narrow.float(), smooth_targets(labels, 6, 0.1)))


def test_large_logits_do_not_overflow():
    loss = cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert loss.tolist() == [1e4]


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_has_no_loss(label: int):
    targets = smooth_targets(torch.tensor([0, label]), 3, 0.1)
    loss = cross_entropy(torch.rand(2, 3), targets)
    assert loss.isnan().tolist() == [False, True]


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothings_that_there_are_not(smoothing: float):
    with pytest.raises(ValueError, match="smoothing"):
        smooth_targets(torch.tensor([0]), 2, smoothing)


def test_what_is_correct():
    logits = torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [0.0, 2.0, 9.0]])
    targets = smooth_targets(torch.tensor([1, 1, 2]), 3, 0.3)
    assert is_correct(logits, targets).tolist() == [True, False, True]
