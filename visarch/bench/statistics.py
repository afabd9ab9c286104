"""What a list of measurements says: a median, and between which bounds the true one lies."""

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import NamedTuple

QUIET = 0.02
"""How far from 1 the ratio of a program to itself may lie on a machine quiet enough to measure."""


class Interval(NamedTuple):
    """A median, and the bounds that hold the true one with a confidence that is told as well."""

    median: float
    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median of a sample, and the order statistics around it that hold the true median m.

        P(x₍ₖ₎ ≤ m ≤ x₍ₙ₊₁₋ₖ₎) ≥ 1 − 2 P(Bin(n, ½) < k)

    whatever the distribution; k is the largest that leaves the confidence asked for. Below six
    values there is none, and the bounds are the smallest and the largest, with less confidence.

    Raises:
        ValueError: there are no values.

    Source: David & Nagaraja 2003, Order Statistics, section 7.1.
    """
    if not values:
        raise ValueError("there are no values to take the median of")
    ordered, count = sorted(values), len(values)
    k = 1
    while k < (count + 1) // 2 and _coverage(count, k + 1) >= confidence:
        k += 1
    return Interval(median(ordered), ordered[k - 1], ordered[count - k], _coverage(count, k))


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95
) -> Interval:
    """The median of the ratios round by round: what drifts from round to round falls out."""
    pairs = zip(numerators, denominators, strict=True)
    return median_interval([above / below for above, below in pairs], confidence)


def is_quiet(control: Interval) -> bool:
    """Whether a program took as long as itself, as far as the benchmarks need it."""
    return abs(control.median - 1) <= QUIET


def _coverage(count: int, k: int) -> float:
    """1 − 2 P(Bin(n, ½) < k)."""
    return 1 - 2 * sum(comb(count, i) for i in range(k)) / 2**count
