"""Grids of times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.objectives.diffusion import MAX_LOG_SNR, SCHEDULES, Schedule, cosine, linear
from visarch.sampling import log_snr_times, time_at, uniform_times

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def shifted(t: torch.Tensor) -> torch.Tensor:
    """A schedule for larger images."""
    return cosine(t) - 2.8


def raised(t: torch.Tensor) -> torch.Tensor:
    """A schedule that ends with some of the image to be seen."""
    return cosine(t) + 7


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@every_schedule
@given(t=st.floats(0, 1))
def test_a_time_is_found_by_its_log_snr(schedule: Schedule, t: float):
    torch.testing.assert_close(time_at(schedule, schedule(double(t))), double(t), rtol=0, atol=1e-9)


@every_schedule
def test_values_out_of_reach_give_the_ends_of_time(schedule: Schedule):
    assert time_at(schedule, double(40.0, -40.0)).tolist() == pytest.approx([0, 1])


@every_schedule
@pytest.mark.parametrize("num_steps", [1, 2, 20, 1000])
def test_grids_fall_to_zero(schedule: Schedule, num_steps: int):
    for grid in (uniform_times(num_steps), log_snr_times(num_steps, schedule)):
        assert grid.shape == (num_steps + 1,)
        assert grid.dtype == torch.float64
        assert grid[0] <= 1
        assert grid[-1] == 0
        assert (grid.diff() < 0).all()


def test_uniform_times_are_uniform():
    torch.testing.assert_close(uniform_times(4), double(1, 0.75, 0.5, 0.25, 0))


@every_schedule
def test_log_snr_times_have_equal_steps_of_it(schedule: Schedule):
    levels = schedule(log_snr_times(20, schedule)[:-1])
    torch.testing.assert_close(levels, torch.linspace(-10, 9, 20, dtype=torch.float64))


@every_schedule
def test_a_schedule_that_was_shifted_down_starts_as_much_lower(schedule: Schedule):
    """… so that as much of it is left out as of the schedule itself."""

    def lower(t: torch.Tensor) -> torch.Tensor:
        return schedule(t) - 2.77

    levels = lower(log_snr_times(20, lower)[:-1])
    torch.testing.assert_close(levels, torch.linspace(-12.77, 9, 20, dtype=torch.float64))


def test_a_schedule_that_was_shifted_up_is_cut_off():
    assert raised(log_snr_times(20, raised)[0]) == pytest.approx(-8)


def test_log_snr_times_stay_within_the_schedule():
    """A schedule that ends sooner is taken as it is."""
    for schedule in (linear, shifted):
        grid = log_snr_times(5, schedule, first=-40.0, last=40.0)
        assert (grid.diff() < 0).all()
        levels = schedule(grid[:-1])
        torch.testing.assert_close(levels[[0, -1]], schedule(double(1.0, 0.0)))
    assert cosine(log_snr_times(5, cosine, last=40.0)[-2]) == pytest.approx(MAX_LOG_SNR)


@pytest.mark.parametrize("num_steps", [0, -3])
def test_no_step_at_all_is_answered(num_steps: int):
    for grid in (uniform_times, lambda count: log_snr_times(count, cosine)):
        with pytest.raises(ValueError, match=f"num_steps is {num_steps}: .* at least 1"):
            grid(num_steps)
