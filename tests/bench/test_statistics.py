"""Medians and their intervals: right as often as they say, and blind to what drifts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import quantile_test

from visarch.bench.statistics import QUIET, Interval, is_quiet, median_interval, ratio_interval

SECONDS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


@given(SECONDS, st.randoms())
def test_the_interval_holds_the_median_and_has_no_order(values, random):
    found = median_interval(values)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert found.low <= found.median <= found.high
    assert found.median == np.median(values)
    assert median_interval(shuffled) == found


@pytest.mark.parametrize("count", [6, 7, 8, 9, 15, 40, 101])
def test_its_bounds_are_scipys(count):
    """scipy gives one-sided bounds: two of them, at half the error each."""
    values = sorted(np.random.default_rng(count).exponential(size=count))
    found = median_interval(values)
    below = quantile_test(values, q=0, p=0.5, alternative="greater").confidence_interval(0.975)
    above = quantile_test(values, q=0, p=0.5, alternative="less").confidence_interval(0.975)
    assert (found.low, found.high) == (below.low, above.high)
    assert found.confidence >= 0.95


@pytest.mark.parametrize(("count", "confidence"), [(1, 0.0), (2, 0.5), (5, 0.9375), (6, 0.96875)])
def test_few_values_give_their_extremes_with_the_confidence_that_these_have(count, confidence):
    values = list(range(count))
    assert median_interval(values) == Interval(np.median(values), 0, count - 1, confidence)


def test_it_holds_the_true_median_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 15))
    found = [median_interval(row) for row in draws.tolist()]
    share = np.mean([interval.low <= np.log(2) <= interval.high for interval in found])
    assert share == pytest.approx(found[0].confidence, abs=4 * np.sqrt(0.05 * 0.95 / len(draws)))


def test_less_confidence_takes_a_narrower_interval():
    wide, narrow = (median_interval(range(21), confidence) for confidence in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.floats(0.2, 5))
def test_what_slows_both_in_a_round_falls_out(slowness, ratio):
    """A machine that is slow in some rounds is slow for both; the ratio knows nothing of it."""
    found = ratio_interval([ratio * slow for slow in slowness], slowness)
    assert found[:3] == pytest.approx((ratio, ratio, ratio))


def test_rounds_must_be_whole():
    with pytest.raises(ValueError, match="shorter"):
        ratio_interval([1.0, 2.0], [1.0])


def test_there_is_no_median_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


@pytest.mark.parametrize(("median", "quiet"), [(1.0, True), (1.0199, True), (0.9801, True)])
def test_a_quiet_machine_takes_as_long_for_the_same(median, quiet):
    assert is_quiet(Interval(median, 0.5, 2.0, 0.95)) is quiet
    assert not is_quiet(Interval(median + 2 * QUIET, 0.5, 2.0, 0.95))
