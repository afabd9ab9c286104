"""Ctrl-C and a polite kill: finish the step, save, say how to go on."""

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """Inside `with`, the first SIGINT or SIGTERM only sets `signal`; a second one acts at once.

    Outside the main thread, where Python hears no signals, it never gets set.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int:
        """What shells expect of a process that a signal ended; 0 without one."""
        return 128 + self.signal if self.signal else 0

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._hear) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()
        # not print: the handler may run in the middle of another one
        os.write(2, b"\nStopping after this step; once more stops at once, without saving.\n")
