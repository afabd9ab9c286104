"""How weights reach the oracle: a dictionary of arrays under state-dict names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def part(weights: Weights, name: str) -> dict[str, Array]:
    """The weights of the submodule `name`: ``{"weight": …}`` out of ``{"conv1.weight": …}``."""
    prefix = name + "."
    return {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }


def has(weights: Weights, name: str) -> bool:
    """Whether there is a submodule `name` with weights of its own."""
    return any(key.startswith(name + ".") for key in weights)
