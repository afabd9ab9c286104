import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.training.metrics import Window, better

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(0, 20))
def test_an_interruption_does_not_change_the_mean(values, cut):
    whole, parts = Window(), Window()
    for number, value in enumerate(values):
        if number == cut:
            parts = Window(json.loads(json.dumps(parts.state())))
        whole.add({"loss": value})
        parts.add({"loss": value})
    assert parts.means() == whole.means() == {"loss": pytest.approx(sum(values) / len(values))}


def test_without_good_steps_there_is_no_mean():
    assert Window().means() == {}


@pytest.mark.parametrize(
    ("value", "best", "direction", "answer"),
    [
        (1.0, None, "min", True),
        (1.0, 2.0, "min", True),
        (2.0, 2.0, "min", False),
        (3.0, 2.0, "max", True),
        (3.0, 3.0, "max", False),
        (float("nan"), None, "min", False),
        (float("inf"), 2.0, "max", False),
        (float("-inf"), None, "min", False),
    ],
)
def test_better_is_strictly_better_and_finite(value, best, direction, answer):
    assert better(value, best, direction) is answer
