"""The machine, which all who look at the page share: one thing at a time is computed on it."""

from __future__ import annotations

import threading

from visarch.errors import UserError

busy = threading.Lock()
"""Whoever computes holds it."""
_closing = threading.Event()


def go_on() -> None:
    """A long computation asks now and then whether it may.

    Raises:
        UserError: the page is ending.
    """
    if _closing.is_set():
        raise UserError("The page is ending.")


def close() -> None:
    """Have what is computed end, and wait for it: a process must not end in the midst of it."""
    _closing.set()
    busy.acquire()
