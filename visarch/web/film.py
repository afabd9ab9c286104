"""What a long computation tells on its way, as a generator that can be left at any time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

from visarch.web import machine

T = TypeVar("T")
R = TypeVar("R")


class _LeftError(Exception):
    """Nobody is watching any more."""


def streamed(work: Callable[[Callable[[T], None]], R]) -> Generator[T, None, R]:
    """Yield what ``work`` tells as soon as it tells it, and return what it returns.

    It works once the machine is free, and ends the next time that it tells something after the
    generator was closed. Closing does not wait for that: it is done by the thread that serves
    everyone. What is raised there is raised here.
    """
    told: queue.SimpleQueue[T | Future[R]] = queue.SimpleQueue()
    left = threading.Event()

    def tell(value: T) -> None:
        if left.is_set():
            raise _LeftError
        machine.go_on()
        told.put(value)

    machine.submit(work, tell).add_done_callback(told.put)
    try:
        while not isinstance(value := told.get(), Future):
            yield value
        return value.result()
    finally:
        left.set()
