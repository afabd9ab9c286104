"""Ctrl-C, whatever code it meets."""

import os
import signal

import pytest

from visarch.cli.interrupt import interruptible


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_an_error_in_the_place_of_an_interrupt_is_one():
    """As of compiled code that asks for a length, and makes an error of whatever comes back."""

    def ask() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("no length") from None

    with pytest.raises(KeyboardInterrupt), interruptible():
        ask()


def test_an_error_without_one_stays_what_it_is():
    with pytest.raises(ValueError, match="no length"), interruptible():
        raise ValueError("no length")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
