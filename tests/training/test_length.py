import time

import pytest

from visarch.errors import UserError
from visarch.training.config import TrainConfig
from visarch.training.length import TimeBudget, planned_steps


def config(**changes):
    return TrainConfig(data="digits", **({"batch_size": 10} | changes))


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 3}, 30),
        ({"epochs": 0.01}, 1),
        ({"epochs": 1.01}, 11),
        ({"time": "10m"}, None),
    ],
)
def test_steps_and_epochs_are_known_at_once_and_a_time_is_not(changes, steps):
    assert planned_steps(config(**changes), num_samples=100) == steps


def test_no_length_is_a_question():
    with pytest.raises(UserError, match="How long to train"):
        planned_steps(config(), 100)


def test_the_first_steps_do_not_count_and_a_twentieth_of_the_time_is_measured():
    budget = TimeBudget(config(time="100s"), time.monotonic())
    assert not any(budget.add(50.0) for _ in range(5))
    enough = [budget.add(0.25) for _ in range(20)]
    assert enough == [False] * 19 + [True]
    assert budget.seconds_per_step == 0.25
    steps = budget.steps_left(extra_per_step=0.05, at_the_end=10.0)
    assert steps == pytest.approx(90 / 0.3, abs=1)


def test_at_least_ten_steps_are_measured_unless_half_the_time_is_over():
    slow = TimeBudget(config(time="100s"), time.monotonic())
    assert [slow.add(9.0) for _ in range(15)] == [False] * 14 + [True]
    late = TimeBudget(config(time="100s"), time.monotonic() - 60)
    assert [late.add(9.0) for _ in range(6)] == [False] * 5 + [True]


def test_there_is_always_one_more_step():
    budget = TimeBudget(config(time="1s"), time.monotonic() - 5)
    for _ in range(6):
        budget.add(1.0)
    assert budget.steps_left(extra_per_step=0.0, at_the_end=0.0) == 1
