"""What is told on the way comes at once, and in order; whoever leaves ends the work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from visarch.errors import UserError

pytest.importorskip("gradio", reason="the page needs visarch[web]")
from visarch.web import machine
from visarch.web.film import streamed
from visarch.web.parts import politely


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


def test_the_work_ends_when_nobody_watches_and_nobody_waits_for_it():
    go_on, ended = threading.Event(), threading.Event()

    def work(tell: Callable[[int], None]) -> None:
        try:
            tell(1)
            assert go_on.wait(60)
            tell(2)
        finally:
            ended.set()

    stream = streamed(work)
    next(stream)
    stream.close()
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)


def test_one_thing_at_a_time_is_computed():
    """What was left goes on to its next word before the next one begins."""
    go_on, second = threading.Event(), threading.Event()

    def work(tell: Callable[[int], None]) -> None:
        tell(1)
        assert go_on.wait(60)
        assert not second.is_set()
        tell(2)

    left = streamed(work)
    next(left)
    left.close()
    answer = threading.Thread(target=politely(second.set))
    answer.start()
    assert not second.wait(0.1)
    go_on.set()
    assert second.wait(60)
    answer.join()


def test_it_ends_with_the_page(monkeypatch: pytest.MonkeyPatch):
    """And ending waits for it."""
    monkeypatch.setattr(machine, "_worker", ThreadPoolExecutor(1))
    monkeypatch.setattr(machine, "_closing", threading.Event())

    def work(tell: Callable[[int], None]) -> None:
        while True:
            tell(1)

    stream = streamed(work)
    next(stream)
    machine.close()
    with pytest.raises(UserError, match="is ending"):
        list(stream)
