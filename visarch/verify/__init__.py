"""Proof that the boxes are what the maths says: claims, tried on random cases.

Every claim names where it is made, draws sizes, strides, paddings and weights at random in one,
two and three dimensions, and compares what the package computes, in float64 and in float32, with
the literal reference or with the other side of the statement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from visarch.errors import UserError
from visarch.verify import attention, convolution, normalization, residual, resnet, unet, vae
from visarch.verify.claim import Claim, Draw, Errors

CLAIMS: tuple[Claim, ...] = tuple(
    value
    for module in (convolution, attention, normalization, residual, resnet, unet, vae)
    for value in vars(module).values()
    if isinstance(value, Claim)
)
"""Every claim, in the order of the sources."""


_PRECISIONS = ("float64", "float32")


@dataclass(frozen=True)
class Result:
    """What became of a claim: the largest errors over its cases, and why it failed if it did."""

    claim: Claim
    num_cases: int
    errors: Errors
    failure: str | None = None

    @property
    def holds(self) -> bool:
        """Whether no case failed."""
        return self.failure is None


def claims(only: str | None = None) -> list[Claim]:
    """Every claim, or those with `only` in their name, source or area, in any case of letters.

    Raises:
        UserError: if there is none.
    """
    if only is None:
        return list(CLAIMS)
    wanted = only.casefold()
    chosen = [
        each
        for each in CLAIMS
        if any(wanted in text.casefold() for text in (each.name, each.source, each.area))
    ]
    if not chosen:
        raise UserError(
            f"no claim has {only!r} in its name, source or area. `visarch verify --cases 1` lists "
            f"all {len(CLAIMS)}; the areas are {', '.join(dict.fromkeys(c.area for c in CLAIMS))}."
        )
    return chosen


def verify(
    *,
    cases: int,
    seed: int,
    only: str | None = None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Try every claim (or those whose name or source contains `only`) on random cases.

    Args:
        cases: how many cases of each claim; the three numbers of dimensions take turns. Claims
            with few things to draw, or nothing, are tried less often.
        seed: where the cases come from. The same seed gives the same cases.
        only: part of a claim's name, source or area; none: all of them.
        on_result: called with each result as it comes.

    Raises:
        UserError: if `cases` is below 1, `seed` below 0, or there is no such claim.
    """
    if cases < 1:
        raise UserError(f"--cases is {cases}: at least 1 case of each claim must be tried.")
    if seed < 0:
        raise UserError(f"--seed is {seed}: it must be 0 or more.")
    results = []
    with one_thread():
        for claim in claims(only):
            results.append(try_claim(claim, cases, seed))
            on_result(results[-1])
    return results


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: on tensors as small as these, several only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def try_claim(claim: Claim, cases: int, seed: int) -> Result:
    """Try one claim; stops at the first case that fails, which is named in the result."""
    num_cases = cases if claim.cases is None else min(cases, claim.cases)
    largest = Errors(0.0, None)
    for case in range(num_cases):
        draw = Draw(seed, claim.name, case)
        try:
            with torch.no_grad():
                found = claim.case(draw)
        except Exception as raised:  # a broken box may fail in any way, and that is a finding too
            failure = f"case {case} ({draw.ndim}-d): {type(raised).__name__}: {raised}"
            return Result(claim, case + 1, Errors(math.inf), failure)
        largest = Errors(max(largest.double, found.double), _larger(largest.single, found.single))
        for precision, error, bound in zip(_PRECISIONS, found, claim.measure.bounds, strict=True):
            if error is not None and bound is not None and not error <= bound:
                failure = (
                    f"case {case} ({draw.ndim}-d): {error:.3g} in {precision}, not ≤ {bound:g}"
                )
                return Result(claim, case + 1, largest, failure)
    return Result(claim, num_cases, largest)


def _larger(old: float | None, new: float | None) -> float | None:
    return new if old is None else old if new is None else max(old, new)
