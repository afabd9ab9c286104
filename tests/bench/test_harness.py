"""How contenders are timed, on a clock that only they move."""

from collections.abc import Callable

import pytest
import torch

from visarch.bench import harness
from visarch.bench.harness import Contender, Outcome, Race, Work, agree, difference
from visarch.errors import UserError


class Clock:
    """A clock that stands still unless somebody works; it remembers who did."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(
        self,
        name: str,
        seconds: float | Callable[[int], float],
        *,
        answer: float | None = None,
        making: float = 0.0,
        **options,
    ) -> Contender:
        """One whose every call takes so long, or as long as the number of the call says."""

        def make() -> Work:
            calls = 0

            def call() -> None:
                nonlocal calls
                self.now += seconds(calls) if callable(seconds) else seconds
                self.worked.append(name)
                calls += 1

            self.now += making
            return Work(call, None if answer is None else lambda: torch.tensor([answer]))

        return Contender(name, make, **options)

    def run(self, *contenders: Contender, seconds=100.0, rounds=None, **options) -> Outcome:
        ours, *peers = contenders
        return harness.run(
            Race("test", ours, peers, **options), seconds=seconds, rounds=rounds, clock=self
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_ratio_is_how_many_times_as_fast_ours_is(clock: Clock):
    outcome = clock.run(clock.contender("ours", 2.0), clock.contender("peer", 7.0), rounds=6)
    (peer,) = outcome.peers
    assert outcome.ratio(peer)[:3] == pytest.approx((3.5, 3.5, 3.5))
    assert outcome.control.median == pytest.approx(1)
    assert outcome.is_quiet


def test_turns_alternate_and_every_other_round_goes_backwards(clock: Clock):
    names = ["ours", "a", "b"]
    clock.run(*(clock.contender(name, 1.0) for name in names), rounds=3)
    timed = clock.worked[-12:]
    assert timed == [*names, "ours", "ours", "b", "a", "ours", *names, "ours"]


def test_what_takes_long_once_is_told_apart_and_not_timed(clock: Clock):
    """Making, and the compilation in the first call."""
    compiling = clock.contender("ours", lambda call: 30.0 if call == 0 else 1.0, making=5.0)
    outcome = clock.run(compiling, clock.contender("peer", 1.0), rounds=6)
    assert outcome.ours.made == 5.0
    assert outcome.ours.first_call == 30.0
    assert outcome.ours.turns == pytest.approx([1.0] * 6)


def test_a_second_slow_call_is_still_warming_up(clock: Clock):
    slow_twice = clock.contender("ours", lambda call: 9.0 if call < 2 else 1.0)
    assert clock.run(slow_twice, clock.contender("peer", 1.0), rounds=1).ours.turns == [1.0]


def test_quick_calls_fill_a_turn_together(clock: Clock):
    outcome = clock.run(clock.contender("ours", 0.01), clock.contender("peer", 1.0), rounds=6)
    assert outcome.ours.calls == 25
    assert outcome.peers[0].calls == 1
    assert outcome.ours.turns == pytest.approx([0.01] * 6)


def test_a_part_of_the_work_stands_for_all_of_it(clock: Clock):
    part = clock.contender("peer", 0.5, repeats=1000)
    outcome = clock.run(clock.contender("ours", 2.0), part, rounds=6)
    assert outcome.ratio(outcome.peers[0]).median == pytest.approx(250)


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 6), (45, 11), (1e9, 101)])
def test_there_are_as_many_rounds_as_fit_and_enough_of_them(clock: Clock, seconds, rounds):
    """A round is of four seconds here: ours comes twice."""
    contenders = clock.contender("ours", 1.0), clock.contender("peer", 2.0)
    assert len(clock.run(*contenders, seconds=seconds).ours.turns) == rounds


def test_the_control_tells_a_noisy_machine_and_nothing_is_met_on_it(clock: Clock):
    turns = iter([1.0, 1.0, 1.0] + [1.0, 1.05, 1.05, 1.0] * 3)  # as rounds go back and forth
    noisy = clock.contender("ours", lambda call: next(turns))
    outcome = clock.run(noisy, clock.contender("peer", 9.0, bar=2), rounds=6, limit=5.0)
    assert outcome.control.median == pytest.approx(1.05)
    assert not outcome.is_quiet
    assert outcome.reaches(outcome.peers[0], 2) is None
    assert outcome.within_limit is None


def test_a_bar_is_met_by_the_lower_end_of_the_interval(clock: Clock):
    uneven = clock.contender("peer", lambda call: 4.0 + call % 3)
    outcome = clock.run(clock.contender("ours", 1.0), uneven, rounds=9)
    (peer,) = outcome.peers
    ratio = outcome.ratio(peer)
    assert ratio.low < ratio.median
    assert outcome.reaches(peer, ratio.low) is True
    assert outcome.reaches(peer, ratio.median) is False
    assert outcome.reaches(peer, None) is None


@pytest.mark.parametrize(("limit", "within"), [(None, None), (2.9, False), (3.0, True)])
def test_a_limit_is_kept_by_the_upper_end(clock: Clock, limit, within):
    uneven = clock.contender("ours", lambda call: 3.0 if call % 2 else 2.99)
    assert clock.run(uneven, rounds=6, limit=limit).within_limit is within


def test_answers_are_compared_before_anything_is_timed(clock: Clock):
    ours = clock.contender("ours", 1.0, answer=1.0)
    same = clock.contender("same", 1.0, answer=1.0001, tolerance=1e-3)
    silent = clock.contender("silent", 1.0)
    (found,) = clock.run(ours, same, silent, rounds=1).agreements
    assert (found.what, found.tolerance) == ("same", 1e-3)
    assert found.difference == pytest.approx(1e-4, rel=1e-2)

    clock.worked.clear()
    other = clock.contender("other", 1.0, answer=1.01, tolerance=1e-3)
    with pytest.raises(UserError, match=r"^other: the outputs differ by 0.0099 of their size"):
        clock.run(ours, other)
    assert not clock.worked


@pytest.mark.parametrize("other", [float("nan"), 1.1])
def test_what_differs_is_refused(other):
    with pytest.raises(UserError, match="differ by"):
        agree("x", torch.tensor([1.0]), torch.tensor([other]), 0.05)


def test_other_shapes_differ_infinitely():
    assert difference(torch.ones(2), torch.ones(1, 2)) == float("inf")


def test_a_difference_has_no_scale():
    ours, theirs = torch.rand(2, 100)
    expected = pytest.approx(difference(ours, theirs))
    assert difference(1e6 * ours, 1e6 * theirs) == expected
    assert expected == float((ours - theirs).norm() / theirs.norm())


def test_progress_counts_rounds(clock: Clock):
    told: list[tuple[int, int]] = []
    race = Race("test", clock.contender("ours", 1.0), ())
    harness.run(
        race, seconds=1, rounds=3, clock=clock, progress=lambda *numbers: told.append(numbers)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
