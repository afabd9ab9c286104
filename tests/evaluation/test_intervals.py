"""Intervals and errors against SciPy and what defines them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from visarch.evaluation.intervals import standard_error, wilson_interval


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_is_scipys(count: int, share: float, confidence: float):
    successes = round(share * count)
    low, high = wilson_interval(torch.tensor(successes), torch.tensor(count), confidence)
    expected = stats.binomtest(successes, count).proportion_ci(confidence, "wilson")
    assert float(low) == pytest.approx(expected.low, abs=1e-12)
    assert float(high) == pytest.approx(expected.high, abs=1e-12)


def test_its_ends_lie_z_standard_deviations_away():
    successes, counts = torch.tensor([0, 3, 50, 100]), torch.tensor([10, 10, 100, 100])
    for end in wilson_interval(successes, counts):
        distance = (successes / counts - end).abs()
        expected = 1.959964 * (end * (1 - end) / counts).sqrt()
        torch.testing.assert_close(distance, expected, rtol=1e-5, atol=1e-5)


def test_without_a_trial_nothing_is_known():
    low, high = wilson_interval(torch.tensor([0]), torch.tensor([0]))
    assert (float(low), float(high)) == pytest.approx((0, 1), abs=1e-12)


def test_standard_errors():
    values = torch.tensor([True, True, False, True])
    assert standard_error(values) == pytest.approx(stats.sem([1, 1, 0, 1]))
    assert math.isnan(standard_error(values[:1]))
