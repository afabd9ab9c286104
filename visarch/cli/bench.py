"""``visarch bench NAME``: ours beside its peers, measured in one run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from visarch.bench import BENCHMARKS
from visarch.cli.flags import nearest
from visarch.errors import UserError

if TYPE_CHECKING:
    from visarch.bench.measure import Benchmark


@dataclass(frozen=True)
class Bench:
    """Measure how fast this is beside its peers on this machine: `visarch bench unet-train`.

    Networks get the same weights, and their outputs are compared first. All are timed in turns;
    ours twice, which tells whether the machine is quiet enough. Ratios are medians with intervals
    of 95 % over rounds, and a bar is met if the lower end is above it.
    """

    name: Positional[str | None] = None
    """What to measure; --list says what there is."""
    list: bool = False
    """Say what can be measured."""
    table: tuple[Path, ...] | None = None
    """Print the Markdown table of results that were kept as JSON, in place of measuring."""
    seconds: float = 60.0
    """How long to time each comparison, once it is warm; at least six rounds of each are timed."""
    rounds: int | None = None
    """How many rounds to time, in place of that."""
    threads: int | None = None
    """Threads for ours and for the peers; by default as many as torch takes."""
    run: str | None = None
    """Of sample: a trained diffusion model to draw from, so that quality is compared as well."""
    features: str | None = None
    """Of sample with --run: a classifier's run, in whose features images are compared."""
    samples: int | None = None
    """Of sample with --run: images of each kind that are compared; 1000 by default."""

    def __post_init__(self) -> None:
        for name in ("seconds", "rounds", "threads", "samples"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"--{name} is {value}; it must be above 0.")
        if self.name is not None and (self.list or self.table is not None):
            raise UserError(f"--list and --table measure nothing: leave them out, or {self.name}.")

    def main(self) -> int | None:
        from visarch.terminal import tell

        if self.list:
            tell({name: entry.summary for name, entry in BENCHMARKS.items()}, [_listed()])
        elif self.table is not None:
            from visarch.bench.result import markdown

            results = [_read(path) for path in self.table]
            tell(results, [markdown(results).removesuffix("\n")])
        else:
            found = self._measure()
            from visarch.bench.result import tables

            tell(found, tables(found))
        return 0

    def _measure(self) -> dict[str, Any]:
        name = self._checked_name()
        import torch

        from visarch.bench.measure import measure
        from visarch.terminal import progress

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with progress(f"measuring {name}") as advance:
            return measure(
                name,
                self._benchmark(name),
                seconds=self.seconds,
                rounds=self.rounds,
                progress=advance,
            )

    def _checked_name(self) -> str:
        if self.name is None:
            raise UserError(f"`visarch bench` needs to know what to measure:\n{_listed()}")
        if self.name not in BENCHMARKS:
            near = ", ".join(nearest(self.name, BENCHMARKS))
            raise UserError(
                f"there is no benchmark {self.name!r}. Nearest: {near}. `visarch bench --list` "
                "says what there is."
            )
        return self.name

    def _benchmark(self, name: str) -> Benchmark:
        """The benchmark, with what is asked of this one alone."""
        given = {
            field: value
            for field, value in {
                "run": self.run,
                "features": self.features,
                "num_compared": self.samples,
            }.items()
            if value is not None
        }
        if given and name != "sample":
            raise UserError(
                f"--run, --features and --samples are for `visarch bench sample`: leave them out "
                f"of {name}."
            )
        module, _, class_name = BENCHMARKS[name].target.partition(":")
        return getattr(import_module(module), class_name)(**given)


def _listed() -> str:
    width = max(map(len, BENCHMARKS))
    return "\n".join(f"  {name:{width}}  {entry.summary}" for name, entry in BENCHMARKS.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"--table {path}: that is no JSON ({error}).") from error
    if not isinstance(found, dict) or "races" not in found:
        raise UserError(
            f"--table {path}: that is no result of a benchmark; `visarch bench NAME --json` makes "
            "one."
        )
    return found
