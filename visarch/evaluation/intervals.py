"""How far a mean over some images may lie from what it would be over all."""

from __future__ import annotations

from statistics import NormalDist

from torch import Tensor


def standard_error(values: Tensor) -> float:
    """s / √n of numbers (n,), with s their standard deviation; NaN for a single one."""
    if len(values) < 2:
        return float("nan")
    return float(values.double().std()) / len(values) ** 0.5


def wilson_interval(
    successes: Tensor, counts: Tensor, confidence: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Bounds between which a probability lies, by k successes in n trials: all p for which

        |k/n − p| ≤ z √(p (1 − p) / n)

    with z the normal quantile of that confidence. Unlike k/n ± z standard errors they lie in
    [0, 1], and say something where no or every trial succeeded; (0, 1) where there was none.

    Source: Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    k, n = successes.double(), counts.double()
    middle = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * (k * (n - k) / n.clamp(min=1) + z**2 / 4).sqrt()
    return (middle - half).clamp(0, 1), (middle + half).clamp(0, 1)
