"""The machine, which all who look at the page share: one thing at a time is computed on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from visarch.errors import UserError

T = TypeVar("T")

_worker = ThreadPoolExecutor(1, "machine")
"""A single thread: what it has freed it uses again, where many would each keep some for themselves;
and Python waits for it, where it aborts if it ends while another one computes."""
_closing = threading.Event()


def submit(function: Callable[..., T], *arguments: object) -> Future[T]:
    """Have a function computed once the machine is free."""
    return _worker.submit(copy_context().run, function, *arguments)  # of whoever has asked


def go_on() -> None:
    """A long computation asks now and then whether it may.

    Raises:
        UserError: the page is ending.
    """
    if _closing.is_set():
        raise UserError("The page is ending.")


def close() -> None:
    """Have what is computed end, and wait for it."""
    _closing.set()
    _worker.shutdown(cancel_futures=True)
