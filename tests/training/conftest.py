"""Processes that can be killed."""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., BaseProcess]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Call a function of a module in this folder in a process of its own.

    They are forked from one that has imported everything slow, and has no threads.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["visarch.training.loop", "pytest"])
    started = []

    def start(target: Callable[..., object], *arguments: Any) -> BaseProcess:
        process = context.Process(target=target, args=arguments, daemon=True)
        process.start()
        started.append(process)
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        yield start
    for process in started:
        process.kill()
        process.join()
