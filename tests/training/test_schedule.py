import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.training.config import TrainConfig
from visarch.training.schedule import cosine, inverse_sqrt, learning_rate, warmup

STEPS = st.integers(1, 10_000)


def config(decay="cosine", warmup_steps=100):
    return TrainConfig(data="digits", decay=decay, warmup_steps=warmup_steps, learning_rate=0.5)


@given(STEPS, st.integers(0, 500), st.sampled_from(["cosine", "inverse_sqrt", "constant"]))
def test_it_rises_to_the_peak_then_never_rises_and_stays_positive(total, warmup_steps, decay):
    settings = config(decay, max(1, warmup_steps))
    rates = [learning_rate(settings, step, total) for step in range(total)]
    peak = settings.warmup_steps
    assert all(0 < rate <= 0.5 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    if total > peak:
        assert rates[peak] == 0.5


@given(STEPS, STEPS, STEPS, st.sampled_from(["inverse_sqrt", "constant"]))
def test_these_decays_do_not_depend_on_the_length(step, total, other, decay):
    settings = config(decay)
    assert learning_rate(settings, step, total) == learning_rate(settings, step, other)
    assert learning_rate(settings, step, None) == learning_rate(settings, step, other)


def test_the_cosine_is_at_half_in_the_middle_and_ends_near_zero():
    assert cosine(100, 100, 1100) == 1
    assert cosine(600, 100, 1100) == pytest.approx(0.5)
    assert cosine(1099, 100, 1100) == pytest.approx((math.pi / 2000) ** 2, rel=1e-3)
    assert cosine(5000, 100, None) == 1


def test_four_times_the_steps_halve_the_inverse_root():
    assert inverse_sqrt(400, 100) == pytest.approx(0.5)
    assert inverse_sqrt(50, 100) == 1


def test_the_warm_up_is_a_straight_line():
    assert [warmup(step, 3) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert warmup(0, 0) == 1
