"""What a claim is, what its cases are drawn from, and how its errors are measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
_DIMENSIONS: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
Module = TypeVar("Module", bound=nn.Module)


class Errors(NamedTuple):
    """The largest error of a case, computed in float64 and (where it makes sense) in float32."""

    double: float
    single: float | None = None


@dataclass(frozen=True)
class Measure:
    """What the numbers of a claim are, how large they may be, and how they are written."""

    name: str
    bounds: Errors
    form: str

    def show(self, error: float | None) -> str:
        """An error as the table has it."""
        return "" if error is None else self.form.format(error)


NUMERIC = Measure("error", Errors(1e-10, 1e-4), "{:.1e}")
"""Largest |ours − theirs| / max(1, largest |theirs|), in float64 and in float32."""
EXACT = Measure("wrong answers", Errors(0.0), "{:.0f} wrong")
"""How many of the integers, sizes or yes-or-no answers compared were wrong."""
STATISTICAL = Measure("standard errors", Errors(5.0), "{:.1f} s.e.")
"""Distance between a Monte Carlo mean and the closed form, in standard errors of that mean."""


@dataclass(frozen=True)
class Claim:
    """A statement about a box, where it is made, and a function that tries it on one random case.

    ``cases`` limits how often it is tried; 1 where there is nothing to draw.
    """

    name: str
    source: str
    case: Callable[[Draw], Errors]
    measure: Measure = NUMERIC
    cases: int | None = None

    @property
    def area(self) -> str:
        """What the claim is about: the name of the module that makes it."""
        return self.case.__module__.rpartition(".")[2]


def claim(
    name: str, source: str, *, measure: Measure = NUMERIC, cases: int | None = None
) -> Callable[[Callable[[Draw], Errors]], Claim]:
    """Make a claim of the function below it."""
    return lambda case: Claim(name, source, case, measure, cases)


class Draw:
    """The randomness of one case: a NumPy generator, and what is often drawn from it.

    Cases 0, 1, 2, … of a claim have one, two, three, one, … spatial axes. The numbers depend on
    the seed, the claim and the case alone, so that a single claim is tried alike on its own.
    """

    def __init__(self, seed: int, claim: str, case: int) -> None:
        self.rng = np.random.default_rng([seed, crc32(claim.encode()), case])
        self.ndim = _DIMENSIONS[case % 3]

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]

    def sizes(self, low: int, high: int) -> tuple[int, ...]:
        """One size for each spatial axis, from low to high."""
        return tuple(self.integer(low, high) for _ in range(self.ndim))

    def array(self, *shape: int) -> Array:
        """Standard normal numbers."""
        return self.rng.standard_normal(shape)

    def fill(self, module: Module) -> Module:
        """The module in float64, its parameters and statistics replaced by random numbers.

        Scaled so that activations keep their order of magnitude; γ stays away from zero and
        variances from being too small to divide by.
        """
        module = module.double()
        state = {}
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                state[name] = value
                continue
            numbers = self.array(*value.shape)
            if name.endswith("running_var"):
                numbers = 0.5 + np.abs(numbers)
            elif value.ndim > 1:
                numbers /= np.sqrt(value[0].numel())
            elif name.endswith("weight"):
                numbers = 1 + 0.3 * numbers
            else:
                numbers *= 0.3
            state[name] = torch.from_numpy(np.asarray(numbers))
        module.load_state_dict(state)
        return module


def tensor(values: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers as a tensor."""
    return torch.tensor(np.asarray(values), dtype=dtype)


def weights(module: nn.Module) -> dict[str, Array]:
    """The module's state, as the reference takes it."""
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def cast(module: Module, dtype: torch.dtype) -> Module:
    """A copy of the module in another precision."""
    return copy.deepcopy(module).to(dtype)


def run(module: nn.Module, *inputs: Array) -> Callable[[torch.dtype], Any]:
    """The module applied to these inputs, in whichever precision is asked for."""
    return lambda dtype: cast(module, dtype)(*(tensor(values, dtype) for values in inputs))


def errors(ours: Callable[[torch.dtype], Any], theirs: Any) -> Errors:
    """How far what we compute in float64 and in float32 is from what is expected."""
    return Errors(
        distance(ours(torch.float64), theirs),
        distance(ours(torch.float32), theirs),
    )


def distance(ours: Any, theirs: Any) -> float:
    """Largest |ours − theirs| / max(1, largest |theirs|); of dictionaries, over all entries.

    Not-a-number is infinitely far from everything.

    Raises:
        ValueError: if shapes or names differ.
    """
    if isinstance(theirs, Mapping):
        if ours.keys() != theirs.keys():
            raise ValueError(f"steps {sorted(ours)} where {sorted(theirs)} are expected")
        return max(distance(ours[name], theirs[name]) for name in theirs)
    ours, theirs = (
        np.asarray(values.detach() if isinstance(values, Tensor) else values, dtype=np.float64)
        for values in (ours, theirs)
    )
    if ours.shape != theirs.shape:
        raise ValueError(f"shape {ours.shape} where {theirs.shape} is expected")
    if not theirs.size:
        return 0.0
    largest = float(np.max(np.abs(ours - theirs)) / max(1.0, float(np.max(np.abs(theirs)))))
    return largest if np.isfinite(largest) else float("inf")


def wrong(*answers: bool) -> Errors:
    """How many of these statements do not hold."""
    return Errors(float(sum(not answer for answer in answers)))


def standard_errors(samples: Array, expected: float) -> Errors:
    """How many standard errors the samples' mean is away from what is expected."""
    error = np.std(samples, ddof=1) / np.sqrt(samples.size)
    return Errors(float(abs(np.mean(samples) - expected) / error))
