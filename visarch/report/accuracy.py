"""What an accuracy is to be read against: chance, twice over."""

import math

import torch

from visarch.evaluation.intervals import wilson_interval
from visarch.report.run import Result, Run


def interval(run: Run, result: Result) -> tuple[float, float] | None:
    """95 % interval of the accuracy that was measured on a split; None where it was not, or the
    size of the split is not known."""
    accuracy, count = result.metrics.get("accuracy", math.nan), run.count(result.split)
    if not count or count < 0 or not 0 <= accuracy <= 1:
        return None
    low, high = wilson_interval(torch.tensor(round(accuracy * count)), torch.tensor(count))
    return float(low), float(high)


def guessing(run: Run, split: str) -> float | None:
    """The accuracy of always answering with the most frequent class of a split."""
    counts = run.class_counts(split).values()
    return max(counts) / sum(counts) if sum(counts) > 0 else None
