"""Contenders in processes of their own, so that none feels what another asks of its process.

Ours tells the C library to keep memory (:mod:`visarch.performance.memory`), which would make a peer
faster that shares its process, by up to a half.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from visarch.bench.harness import Contender, Race, Work
from visarch.errors import UserError


class HasRaces(Protocol):
    """What can be sent to another process, and makes the same races there."""

    def races(self) -> Iterator[Race]: ...


class _Place(NamedTuple):
    """Where a contender stands: ours is the first of a race."""

    race: int
    contender: int


class _Made(NamedTuple):
    """A contender is ready, after so many seconds of its own."""

    seconds: float
    answer: Tensor | None


def apart(benchmark: HasRaces) -> Iterator[Race]:
    """The races of a benchmark, with each contender in a process that lasts as long as the race."""
    for number, race in enumerate(benchmark.races()):
        with ExitStack() as processes:

            def away(place: int, contender: Contender, number: int = number) -> Contender:
                make = partial(_start, processes, benchmark, _Place(number, place))
                return replace(contender, make=make)

            ours, *peers = (away(*pair) for pair in enumerate((race.ours, *race.peers)))
            yield replace(race, ours=ours, peers=peers)


def _start(processes: ExitStack, benchmark: HasRaces, place: _Place) -> Work:
    """Make a contender in a new process, and be told when it is ready."""
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    arguments = there, benchmark, place, torch.get_num_threads()
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    there.close()
    processes.callback(_stop, process, here)
    made = _receive(here)
    elsewhere = time.perf_counter() - start - made.seconds
    answer = None if made.answer is None else lambda: made.answer
    return Work(lambda: _ask(here, 1), answer, partial(_ask, here), elsewhere)


def _serve(parent: Connection, benchmark: HasRaces, place: _Place, threads: int) -> None:
    """Make a contender, tell its answer, then call it as often as one is told to."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    try:
        races = benchmark.races()
        race = next(islice(races, place.race, None))  # `races` stays: its files are in use
        contender = (race.ours, *race.peers)[place.contender]
        start = time.perf_counter()
        work = contender.make()
        answer = None if work.answer is None else work.answer().detach().clone()
        parent.send(_Made(time.perf_counter() - start, answer))
        while calls := parent.recv():
            work.repeat(calls)
            parent.send(None)
    except (EOFError, BrokenPipeError):  # nobody is there any more
        pass
    except UserError as error:
        parent.send(error)


def _ask(process: Connection, calls: int) -> None:
    process.send(calls)
    _receive(process)


def _receive(process: Connection) -> Any:
    try:
        told = process.recv()
    except EOFError as error:
        raise RuntimeError(
            "the process of a contender ended by itself; what it says above tells why"
        ) from error
    if isinstance(told, UserError):
        raise told
    return told


def _stop(process: Any, connection: Connection) -> None:
    connection.close()
    process.terminate()
    process.join()
