"""``visarch verify``: every claim about the boxes, tried and tabled."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from visarch.verify import Result


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Prove every box against the literal reference and the lemmas.

    Each claim is tried on random sizes, strides, paddings and weights in one, two and three
    dimensions. Exits with code 1 if one does not hold.
    """

    cases: int = 24
    """How many random cases of each claim to try."""
    seed: int = 0
    """Where the cases come from; the same seed gives the same cases."""
    only: str | None = None
    """Try only the claims with this in their name, source or area, as in "Fact 1.4" or "vae"."""

    def main(self) -> int:
        from visarch.terminal import progress, tell
        from visarch.verify import claims, verify

        started, total, done = time.perf_counter(), len(claims(self.only)), count(1)
        with progress("trying claims") as advance:
            results = verify(
                cases=self.cases,
                seed=self.seed,
                only=self.only,
                on_result=lambda result: advance(next(done), total),
            )
        seconds = time.perf_counter() - started

        failures = [result for result in results if not result.holds]
        num_cases = sum(result.num_cases for result in results)
        verdict = (
            f"{len(results) - len(failures)} of {len(results)} claims hold: {num_cases:,} cases "
            f"from seed {self.seed} in {seconds:.1f} s. {_versions_line()}"
        )
        wrong = [f"✗ {result.claim.name}: {result.failure}" for result in failures]
        tell(self._record(results, seconds), [_table(results), *wrong, verdict])
        return 1 if failures else 0

    def _record(self, results: list[Result], seconds: float) -> dict[str, Any]:
        return {
            "claims": [_claim_record(result) for result in results],
            "holds": all(result.holds for result in results),
            "cases": self.cases,
            "seed": self.seed,
            "seconds": round(seconds, 3),
            "versions": _versions(),
        }


def _claim_record(result: Result) -> dict[str, Any]:
    bounds = result.claim.measure.bounds
    return {
        "claim": result.claim.name,
        "source": result.claim.source,
        "area": result.claim.area,
        "cases": result.num_cases,
        "measure": result.claim.measure.name,
        "float64": result.errors.double,
        "float32": result.errors.single,
        "bound_float64": bounds.double,
        "bound_float32": bounds.single,
        "holds": result.holds,
        "failure": result.failure,
    }


def _table(results: list[Result]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("claim", "source", header_style="bold", caption=_bounds(), caption_justify="left")
    for heading in ("cases", "float64", "float32"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for _, area in groupby(results, key=lambda result: result.claim.area):
        for result in area:
            measure = result.claim.measure
            verdict = Text("holds", "green") if result.holds else Text("fails", "bold red")
            table.add_row(
                Text(result.claim.name),
                Text(result.claim.source),
                str(result.num_cases),
                measure.show(result.errors.double),
                measure.show(result.errors.single),
                verdict,
            )
        table.add_section()
    return table


def _bounds() -> str:
    from visarch.verify.claim import NUMERIC, STATISTICAL

    return (
        f"A claim holds with errors up to {NUMERIC.bounds.double:g} in float64 and "
        f"{NUMERIC.bounds.single:g} in float32 (relative to the largest value), with no wrong "
        f"answer where answers are exact, and within {STATISTICAL.bounds.double:g} standard errors "
        "(s.e.) where a mean over samples is compared."
    )


def _versions() -> dict[str, str]:
    import numpy
    import torch

    from visarch import __version__

    return {"visarch": __version__, "torch": torch.__version__, "numpy": numpy.__version__}


def _versions_line() -> str:
    return ", ".join(f"{name} {version}" for name, version in _versions().items()) + "."
