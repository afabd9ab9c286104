"""What is told on the way comes at once, and in order; whoever leaves ends the work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from visarch.web.film import streamed


def test_all_is_told_and_returned():
    def work(tell: Callable[[int], None]) -> str:
        for number in range(5):
            tell(number)
        return "done"

    stream = streamed(work)
    assert [next(stream) for _ in range(5)] == list(range(5))
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == "done"


def test_it_comes_while_the_work_goes_on():
    go_on = threading.Event()

    def work(tell: Callable[[int], None]) -> None:
        tell(1)
        assert go_on.wait(60)

    stream = streamed(work)
    assert next(stream) == 1
    go_on.set()
    assert list(stream) == []


def test_what_is_raised_is_raised_here():
    def work(tell: Callable[[int], None]) -> None:
        tell(1)
        raise ValueError("no")

    stream = streamed(work)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no"):
        next(stream)


def test_the_work_ends_when_nobody_watches():
    told = []

    def work(tell: Callable[[int], None]) -> None:
        for number in range(10**9):
            told.append(number)
            tell(number)

    stream = streamed(work)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "film"]
    count = len(told)
    assert count < 10**9
