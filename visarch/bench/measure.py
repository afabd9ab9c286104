"""From the name of a benchmark to what it found."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from visarch.bench.harness import Race, run
from visarch.bench.peers import require
from visarch.bench.processes import apart
from visarch.bench.result import race_record, record


class Benchmark(Protocol):
    """What is asked of a benchmark."""

    @property
    def packages(self) -> Sequence[str]:
        """The peers, as they are called where packages are installed from."""
        ...

    def races(self) -> Iterator[Race]:
        """What is to be compared, one after the other, so that each can be let go of."""
        ...


def measure(
    name: str,
    benchmark: Benchmark,
    *,
    seconds: float,
    rounds: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Run all races of a benchmark, with weights and inputs that are the same each time.

    Args:
        name: of the benchmark.
        benchmark: makes the races.
        seconds: as of :func:`visarch.bench.harness.run`, like those below.
        rounds: likewise.
        progress: likewise.

    Raises:
        UserError: a peer is not installed, or computes something else.
    """
    require(benchmark.packages)
    torch.manual_seed(0)
    races = []
    # what is ours alone may share a process
    for race in apart(benchmark) if benchmark.packages else benchmark.races():
        outcome = run(race, seconds=seconds, rounds=rounds, progress=progress)
        races.append(race_record(outcome))
        del race, outcome
        gc.collect()  # networks and optimizers hold themselves, and the next ones need the room
    return record(name, races, benchmark.packages)
