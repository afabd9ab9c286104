"""What happened between one row of metrics.csv and the next."""

import math
from collections.abc import Mapping
from typing import Any


class Window:
    """Sums over the good steps since the last row; part of a checkpoint, so that a row does not
    depend on where a run was interrupted."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._count: int = state["count"] if state else 0
        self._sums: dict[str, float] = dict(state["sums"]) if state else {}

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the values of one step."""
        self._count += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The mean of each value; nothing where there was no good step."""
        return {name: total / self._count for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {"count": self._count, "sums": dict(self._sums)}


def better(value: float, best: float | None, direction: str) -> bool:
    """Whether a metric improves on the best so far; one that is not finite never does."""
    if not math.isfinite(value):
        return False
    return best is None or (value < best if direction == "min" else value > best)
