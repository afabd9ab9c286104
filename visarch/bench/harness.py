"""Measuring programs side by side: made, compared, warmed up, and timed in turns."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from torch import Tensor

from visarch.bench.statistics import Interval, is_quiet, median_interval, ratio_interval
from visarch.errors import UserError

EXACT, LOW_PRECISION = 1e-4, 0.02
"""How far outputs may differ in fp32, and where one side computes in bf16."""
TURN = 0.25
"""Seconds that one turn lasts at least: what takes less is called several times."""
FEWEST_ROUNDS, MOST_ROUNDS = 6, 101
"""Six values are the fewest whose extremes hold the median with a confidence of 95 %."""
_WARM_UP_CALLS = 2


class Work(NamedTuple):
    """A program that is ready to run."""

    call: Callable[[], object]
    """What is timed."""
    answer: Callable[[], Tensor] | None = None
    """What it makes of the inputs that all contenders share; asked for once, before it is timed.
    None where there is nothing to compare, which the contender's note explains."""
    together: Callable[[int], object] | None = None
    """Makes so many calls where that is quicker than one by one."""
    started: float = 0.0
    """Seconds that passed until it could be made; they are not its own."""

    def repeat(self, calls: int) -> None:
        """Make so many calls."""
        if self.together is not None:
            self.together(calls)
            return
        for _ in range(calls):
            self.call()


@dataclass(frozen=True)
class Contender:
    """One side of a race; of a peer also what is to be reached against it."""

    name: str
    make: Callable[[], Work]
    note: str = ""
    """What it is, as far as the name does not say."""
    repeats: int = 1
    """How many of its calls do what one of ours does, where that would take too long to time."""
    tolerance: float | None = None
    """How far its answer may lie from ours, as :func:`difference` counts."""
    bar: float | None = None
    """How many times as fast ours is to be."""
    stretch: float | None = None
    """How many times as fast we would like it to be."""


class Agreement(NamedTuple):
    """That two programs compute the same, as far as they were asked."""

    what: str
    difference: float
    tolerance: float


@dataclass(frozen=True)
class Race:
    """Ours beside its peers, on the same inputs."""

    title: str
    ours: Contender
    peers: Sequence[Contender]
    count: int = 1
    """How many units of work are in one call of ours."""
    unit: str = "images"
    limit: float | None = None
    """Seconds within which a call of ours is to end."""
    check: Callable[[], Iterable[Agreement]] = tuple
    """Compares what can be compared before anything is made fast."""


@dataclass
class Lap:
    """How a contender fared; all in seconds."""

    contender: Contender
    made: float
    """To make it and to get its answer: weights copied, packed, exported, compiled."""
    first_call: float = 0.0
    """Of the first call that is like those timed; it compiles what is not compiled yet."""
    calls: int = 1
    """Calls in each turn."""
    turns: list[float] = field(default_factory=list)
    """Of a call in each round, ``repeats`` included."""

    @property
    def seconds(self) -> Interval:
        return median_interval(self.turns)


@dataclass
class Outcome:
    """A race that was run."""

    race: Race
    ours: Lap
    peers: list[Lap]
    again: list[float]
    """Ours once more in each round: what it takes for itself."""
    agreements: list[Agreement]

    @property
    def control(self) -> Interval:
        """Ours against ours."""
        return ratio_interval(self.again, self.ours.turns)

    @property
    def is_quiet(self) -> bool:
        """Whether ours against ours says that the machine is quiet enough to believe the rest."""
        return is_quiet(self.control)

    def ratio(self, peer: Lap) -> Interval:
        """How many times as fast ours is as a peer."""
        return ratio_interval(peer.turns, self.ours.turns)

    def reaches(self, peer: Lap, bar: float | None) -> bool | None:
        """Whether ours is so many times as fast, by the lower end of the interval; None where
        nothing is to be reached, or the machine is too noisy to say."""
        return None if bar is None else self._if_quiet(self.ratio(peer).low >= bar)

    @property
    def within_limit(self) -> bool | None:
        """Whether a call of ours ends in time, by the upper end of the interval; None as above."""
        limit = self.race.limit
        return None if limit is None else self._if_quiet(self.ours.seconds.high <= limit)

    def _if_quiet(self, verdict: bool) -> bool | None:
        return verdict if self.is_quiet else None


def run(
    race: Race,
    *,
    seconds: float,
    rounds: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Make all contenders, compare their answers, warm them up, and time them in turns.

    A round is a turn for each contender and a second one for ours, in an order that is reversed
    from round to round. Where a turn has several calls, one before them is not timed: it finds what
    another has left, as its data in the caches.

    Args:
        race: what to run.
        seconds: how long to go on timing; at least six rounds are timed.
        rounds: exactly how many, in place of that.
        clock: tells the time in seconds.
        progress: is called with (rounds done, rounds there are).

    Raises:
        UserError: an answer differs from ours.
    """
    agreements = [*race.check()]
    laps, works, answers = [], [], []
    for contender in (race.ours, *race.peers):
        start = clock()
        work = contender.make()
        answers.append(None if work.answer is None else work.answer())
        works.append(work)
        laps.append(Lap(contender, clock() - start - work.started))
    agreements += _compare(race.peers, answers)

    expected = []
    for lap, work in zip(laps, works, strict=True):
        lap.first_call = _seconds(work, 1, clock)
        expected.append(_warm_up(work, clock))
        lap.calls = max(1, ceil(TURN / max(expected[-1], 1e-9)))
    if rounds is None:
        one = [call * lap.calls for call, lap in zip(expected, laps, strict=True)]
        rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / (sum(one) + one[0]))))

    again: list[float] = []
    for number in range(rounds):
        for place in _order(number, len(laps)):
            lap, work = laps[place % len(laps)], works[place % len(laps)]
            if lap.calls > 1:
                work.call()
            turn = lap.contender.repeats * _seconds(work, lap.calls, clock) / lap.calls
            (again if place == len(laps) else lap.turns).append(turn)
        progress(number + 1, rounds)
    return Outcome(race, laps[0], laps[1:], again, agreements)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """‖ours − theirs‖ / ‖theirs‖, infinite where they have other shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-300))


def agree(what: str, ours: Tensor, theirs: Tensor, tolerance: float) -> Agreement:
    """That two tensors are equal within a tolerance.

    Raises:
        UserError: they are not: what follows would compare programs that do different things.
    """
    found = difference(ours, theirs)
    if not found <= tolerance:  # NaN is no agreement, either
        raise UserError(
            f"{what}: the outputs differ by {found:.2g} of their size, and at most "
            f"{tolerance:.2g} may be rounding. Programs that compute something else are not timed "
            "against each other."
        )
    return Agreement(what, found, tolerance)


def _compare(peers: Sequence[Contender], answers: Sequence[Tensor | None]) -> Iterator[Agreement]:
    ours, *theirs = answers
    for peer, answer in zip(peers, theirs, strict=True):
        if ours is not None and answer is not None:
            assert peer.tolerance is not None
            yield agree(peer.name, ours, answer, peer.tolerance)


def _order(number: int, count: int) -> range:
    """Places of the contenders, ours twice: 0 … count and, in every other round, back."""
    return range(count, -1, -1) if number % 2 else range(count + 1)


def _seconds(work: Work, calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    work.repeat(calls)
    return clock() - start


def _warm_up(work: Work, clock: Callable[[], float]) -> float:
    """Call until caches and allocators are as they will stay; seconds that a call takes by then."""
    start, calls = clock(), 0
    while calls < _WARM_UP_CALLS or clock() - start < TURN:
        before = clock()
        work.call()
        last, calls = clock() - before, calls + 1
    return last
