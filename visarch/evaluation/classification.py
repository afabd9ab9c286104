"""How well a classifier tells images apart, how sure it is of it, and where it errs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from visarch.evaluation.intervals import standard_error, wilson_interval

BINS = 15
"""Most bins of the calibration error."""
_LEAST_IN_A_BIN = 20

CONFIDENCE = 0.95
"""Of all intervals."""


class ClassTable(NamedTuple):
    """A row for each class (K,); NaN for a class of which there is no image."""

    counts: Tensor
    """Images of the class."""
    precision: Tensor
    """Share of those read as the class that are of it; NaN where none is read so."""
    recall: Tensor
    """Share of those of the class that are read as it."""
    f1: Tensor
    """Harmonic mean of the two: 2 · right / (of the class + read as it)."""


class Reliability(NamedTuple):
    """Images in bins of nearly equal confidence, from the least on; all (bins,)."""

    counts: Tensor
    confidence: Tensor
    """Mean confidence."""
    accuracy: Tensor
    """Share that is right."""
    chance: Tensor
    """Mean distance between the two where every confidence is the true probability: what is seen in
    a bin that is no larger."""


@dataclass(frozen=True)
class ClassifierMeasurement:
    """What was measured over a set of labelled images; iterate over it for (name, value).

    All tensors are (n,), in the order of the images.
    """

    num_classes: int
    """K."""
    labels: Tensor
    predictions: Tensor
    """The class with the largest logit."""
    confidences: Tensor
    """Probability of the prediction."""
    ranks: Tensor
    """How many classes come before the right one: 0 where the prediction is right."""
    surprises: Tensor
    """−log p(label | image), in nats."""
    brier_scores: Tensor
    """Σ_k (p_k − [k = label])²: 0 if sure and right, 2 if sure and wrong."""

    @property
    def num_images(self) -> int:
        """n: how many images were measured."""
        return len(self.labels)

    @property
    def correct(self) -> Tensor:
        """Whether the prediction is right (n,)."""
        return self.predictions == self.labels

    def __iter__(self) -> Iterator[tuple[str, float]]:
        yield "accuracy", _mean(self.correct)
        if self.num_classes > 5:
            yield "top-5", _mean(self.ranks < 5)
        yield "balanced accuracy", float(self.per_class.recall.nanmean())
        yield "NLL", _mean(self.surprises)
        yield "Brier", _mean(self.brier_scores)
        yield "calibration error", self.calibration_error

    def standard_errors(self) -> dict[str, float]:
        """Standard errors, over the images, of what are means; NaN for a single image."""
        errors = {"accuracy": standard_error(self.correct)}
        if self.num_classes > 5:
            errors["top-5"] = standard_error(self.ranks < 5)
        return errors | {
            "NLL": standard_error(self.surprises),
            "Brier": standard_error(self.brier_scores),
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Wilson's 95 % intervals of the values that are shares."""
        shares = {"accuracy": self.correct}
        if self.num_classes > 5:
            shares["top-5"] = self.ranks < 5
        number = torch.tensor(self.num_images)
        bounds = {name: wilson_interval(x.sum(), number, CONFIDENCE) for name, x in shares.items()}
        return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}

    @cached_property
    def confusion(self) -> Tensor:
        """How many images of class i (row) are read as class j (column): (K, K)."""
        cells = self.labels * self.num_classes + self.predictions
        counts = cells.bincount(minlength=self.num_classes**2)
        return counts.view(self.num_classes, self.num_classes)

    @cached_property
    def per_class(self) -> ClassTable:
        """Precision, recall and F1 of each class."""
        right, counts, read = self.confusion.diag(), self.confusion.sum(1), self.confusion.sum(0)
        there = torch.where(counts > 0, 1.0, torch.nan).double()
        return ClassTable(
            counts,
            there * right / read,
            there * right / counts,
            there * 2 * right / (counts + read),
        )

    @cached_property
    def reliability(self) -> Reliability:
        """Whether images of about equal confidence are right about as often as it says.

        The bins hold about equally many images: 15 bins, or fewer so that there are 20 in each.
        Equal confidences share a bin.
        """
        num_bins = max(1, min(BINS, self.num_images // _LEAST_IN_A_BIN))
        ranked = self.confidences.sort().values
        first = torch.arange(1, num_bins) * self.num_images // num_bins
        edges = ranked[first].unique()
        bins = torch.searchsorted(edges, self.confidences, right=True)
        variances = self.confidences * (1 - self.confidences)
        counts = bins.bincount(minlength=len(edges) + 1)
        there = counts > 0
        counts = counts[there]
        confidence, accuracy, variance = (
            bins.bincount(values.double(), minlength=len(there))[there] / counts
            for values in (self.confidences, self.correct, variances)
        )
        # for a sum of many: √(2/π) standard deviations, as for a normal one; for very few, or where
        # hardly any is wrong, the sum of each one's distance, 2 p (1 − p)
        chance = torch.minimum((2 / torch.pi * variance / counts).sqrt(), 2 * variance)
        return Reliability(counts, confidence, accuracy, chance)

    @property
    def calibration_error(self) -> float:
        """Σ_bins n_bin / n |accuracy − confidence|: how far off the stated confidence is.

        It is at least about `calibration_chance`, even where every confidence is right.

        Source: Naeini et al. 2015; bins of equal numbers: Nixon et al. 2019, Measuring Calibration
        in Deep Learning.
        """
        bins = self.reliability
        gaps = (bins.accuracy - bins.confidence).abs()
        return float((bins.counts * gaps).sum() / self.num_images)

    @property
    def calibration_chance(self) -> float:
        """The calibration error that is expected where every confidence is the true probability."""
        bins = self.reliability
        return float((bins.counts * bins.chance).sum() / self.num_images)

    def mistakes(self, most: int) -> Tensor:
        """Positions of the images that are read wrongly, most confident first."""
        wrong = (~self.correct).nonzero().flatten()
        order = self.confidences[wrong].argsort(descending=True, stable=True)
        return wrong[order[:most]]


@torch.no_grad()
def measure_classifier(batches: Iterable[tuple[Tensor, Tensor]]) -> ClassifierMeasurement:
    """Measure a classifier by what it makes of labelled images.

    Args:
        batches: logits (b, K) and labels (b,) of some images each.

    Raises:
        ValueError: there are no images, or a label is none of the classes.
    """
    parts, num_classes = [], 0
    for logits, labels in batches:
        num_classes = logits.shape[1]
        parts.append(_measured(logits.cpu().double(), labels.cpu()))
    if sum(len(part[0]) for part in parts) == 0:
        raise ValueError("there are no images to measure the classifier on")
    return ClassifierMeasurement(num_classes, *map(torch.cat, zip(*parts, strict=True)))


def _measured(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """What is kept of a batch: its labels, then what `ClassifierMeasurement` lists."""
    num_classes = logits.shape[1]
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise ValueError(
            f"a label is {int(outside[0])}, but the classifier knows the classes 0 … "
            f"{num_classes - 1}: leave out what it was not made for"
        )
    log_probabilities = functional.log_softmax(logits, 1)
    predictions, own = logits.argmax(1), logits.gather(1, labels.unsqueeze(1))
    confidences = log_probabilities.gather(1, predictions.unsqueeze(1)).squeeze(1).exp()
    # of equal logits the first counts as the larger, as it does in the prediction
    earlier = torch.arange(num_classes) < labels.unsqueeze(1)
    ranks = ((logits > own) | (logits == own) & earlier).sum(1)
    surprises = -log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    errors = log_probabilities.exp() - functional.one_hot(labels, num_classes)
    return labels, predictions, confidences, ranks, surprises, errors.square().sum(1)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
