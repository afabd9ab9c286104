"""Measuring a classifier: counted by hand, and on classifiers that are calibrated by design."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.nn import functional

from visarch.evaluation.classification import (
    BINS,
    ClassifierMeasurement,
    measure_classifier,
)


def measure(logits: Tensor, labels: Tensor, batch: int = 7) -> ClassifierMeasurement:
    return measure_classifier(zip(logits.split(batch), labels.split(batch), strict=True))


def draw(count: int, classes: int, scale: float = 2) -> tuple[Tensor, Tensor]:
    """Logits with some equal ones among them."""
    return (scale * torch.randn(count, classes)).round(decimals=1), torch.randint(classes, (count,))


sizes = st.integers(1, 60), st.integers(1, 12)


# Values.


@given(*sizes)
def test_the_values_are_counted(count: int, classes: int):
    logits, labels = draw(count, classes)
    measured = measure(logits, labels)
    told = dict(measured)
    probabilities = logits.double().softmax(1)
    right = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        right += max(range(classes), key=lambda k: row[k]) == label
    assert told["accuracy"] == pytest.approx(right / count)
    expected = functional.cross_entropy(logits.double(), labels)
    assert told["NLL"] == pytest.approx(float(expected))
    squares = (probabilities - functional.one_hot(labels, classes)).square().sum(1)
    assert told["Brier"] == pytest.approx(float(squares.mean()))
    torch.testing.assert_close(measured.confidences, probabilities.amax(1))
    assert ("top-5" in told) == (classes > 5)
    if classes > 5:
        best = [sorted(range(classes), key=lambda k: -row[k])[:5] for row in logits.tolist()]
        hits = sum(label in five for label, five in zip(labels.tolist(), best, strict=True))
        assert told["top-5"] == pytest.approx(hits / count)


@given(*sizes, st.integers(1, 9))
def test_neither_batches_nor_order_matter(count: int, classes: int, batch: int):
    logits, labels = draw(count, classes)
    order = torch.randperm(count)
    one, other = measure(logits, labels, batch), measure(logits[order], labels[order], count)
    assert dict(one) == pytest.approx(dict(other), nan_ok=True)
    assert one.intervals() == other.intervals()
    assert one.standard_errors() == pytest.approx(other.standard_errors(), nan_ok=True)


@given(*sizes)
def test_the_right_class_is_first_where_the_prediction_is_right(count: int, classes: int):
    measured = measure(*draw(count, classes))
    assert torch.equal(measured.ranks == 0, measured.correct)
    assert measured.ranks.max() < classes


def test_intervals_and_errors_are_those_of_shares_and_means():
    logits, labels = draw(200, 8)
    measured = measure(logits, labels)
    right = int(measured.correct.sum())
    interval = stats.binomtest(right, 200).proportion_ci(0.95, "wilson")
    assert measured.intervals()["accuracy"] == pytest.approx((interval.low, interval.high))
    assert set(measured.intervals()) == {"accuracy", "top-5"}
    errors = measured.standard_errors()
    assert set(errors) < set(dict(measured))
    assert errors["accuracy"] == pytest.approx(stats.sem(measured.correct.numpy()))
    assert errors["top-5"] == pytest.approx(stats.sem((measured.ranks < 5).numpy()))
    nats = functional.cross_entropy(logits.double(), labels, reduction="none")
    assert errors["NLL"] == pytest.approx(stats.sem(nats.numpy()))
    assert errors["Brier"] == pytest.approx(stats.sem(measured.brier_scores.numpy()))


# Edges.


def test_a_single_image():
    measured = measure(torch.tensor([[0.0, 3.0]]), torch.tensor([1]))
    told = dict(measured)
    confidence = 1 / (1 + math.exp(-3))
    assert told["accuracy"] == told["balanced accuracy"] == 1
    assert told["calibration error"] == pytest.approx(1 - confidence)
    assert all(math.isnan(error) for error in measured.standard_errors().values())
    assert measured.intervals()["accuracy"] == pytest.approx((0.2065, 1), abs=1e-4)


def test_a_single_class():
    told = dict(measure(torch.randn(50, 1), torch.zeros(50).long()))
    assert told == {
        "accuracy": 1,
        "balanced accuracy": 1,
        "NLL": 0,
        "Brier": 0,
        "calibration error": 0,
    }


def test_no_images():
    for batches in ([], [(torch.zeros(0, 3), torch.zeros(0).long())]):
        with pytest.raises(ValueError, match="no images"):
            measure_classifier(batches)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class(label: int):
    with pytest.raises(ValueError, match=f"a label is {label}, but"):
        measure(torch.zeros(2, 3), torch.tensor([0, label]))


def test_logits_that_are_no_numbers_show():
    logits, labels = draw(30, 6)
    logits[3] = math.nan
    told = dict(measure(logits, labels))
    assert math.isnan(told["NLL"])
    assert math.isnan(told["Brier"])


def test_large_logits_do_not_overflow():
    told = dict(measure(torch.tensor([[1e5, 0.0], [0.0, 1e5]]), torch.tensor([0, 0])))
    assert told["NLL"] == pytest.approx(5e4)


# Classes.


@given(*sizes)
def test_the_confusion_matrix_counts_each_image_once(count: int, classes: int):
    measured = measure(*draw(count, classes))
    expected = torch.zeros(classes, classes, dtype=torch.int64)
    for label, prediction in zip(measured.labels, measured.predictions, strict=True):
        expected[label, prediction] += 1
    assert torch.equal(measured.confusion, expected)


@given(*sizes)
def test_the_table_of_classes(count: int, classes: int):
    measured = measure(*draw(count, classes))
    table = measured.per_class
    recalls = []
    for k in range(classes):
        of_it, read = measured.labels == k, measured.predictions == k
        assert table.counts[k] == of_it.sum()
        values = [float(column[k]) for column in (table.precision, table.recall, table.f1)]
        if not of_it.any():
            assert all(map(math.isnan, values))
            continue
        right = int((of_it & read).sum())
        recalls.append(right / int(of_it.sum()))
        assert values[1] == pytest.approx(recalls[-1])
        assert values[2] == pytest.approx(2 * right / int(of_it.sum() + read.sum()))
        if read.any():
            assert values[0] == pytest.approx(right / int(read.sum()))
        else:
            assert math.isnan(values[0])
    assert dict(measured)["balanced accuracy"] == pytest.approx(sum(recalls) / len(recalls))


def test_a_class_without_images_shifts_no_other():
    labels = torch.tensor([0, 2, 2, 5])
    measured = measure(5 * functional.one_hot(torch.tensor([0, 2, 5, 5]), 7).float(), labels)
    assert measured.per_class.counts.tolist() == [1, 0, 2, 0, 0, 1, 0]
    recall = measured.per_class.recall
    assert recall.nan_to_num(-1).tolist() == [1, -1, 0.5, -1, -1, 1, -1]
    assert measured.confusion[2].tolist() == [0, 0, 1, 0, 0, 1, 0]


# Mistakes.


@given(*sizes, st.integers(0, 20))
def test_mistakes_come_with_the_most_confident_first(count: int, classes: int, most: int):
    measured = measure(*draw(count, classes))
    positions = measured.mistakes(most)
    wrong = (~measured.correct).sum()
    assert len(positions) == len(positions.unique()) == min(most, int(wrong))
    assert not measured.correct[positions].any()
    confidences = measured.confidences[positions]
    assert torch.equal(confidences, confidences.sort(descending=True).values)
    if 0 < most < wrong:
        left = torch.ones(count, dtype=torch.bool)
        left[positions] = False
        assert measured.confidences[left & ~measured.correct].max() <= confidences[-1]


# Calibration.


def calibrated(count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Labels that are drawn from what the logits say."""
    logits = scale * torch.randn(count, 4)
    return logits, torch.multinomial(logits.softmax(1), 1).squeeze(1)


@pytest.mark.parametrize("scale", [0.5, 3, 12])
def test_what_is_calibrated_has_the_error_of_chance(scale: float):
    """Over many sets, the mean error is what is said to be expected."""
    measurements = [measure(*calibrated(400, scale), 400) for _ in range(150)]
    errors = torch.tensor([m.calibration_error for m in measurements])
    expected = torch.tensor([m.calibration_chance for m in measurements])
    assert errors.mean() == pytest.approx(float(expected.mean()), rel=0.15)


def test_overconfidence_is_told():
    logits, labels = calibrated(20_000, 1)
    measured = measure(5 * logits, labels, 20_000)
    gap = float(measured.confidences.mean()) - dict(measured)["accuracy"]
    assert gap > 0.2
    assert measured.calibration_error == pytest.approx(gap, abs=0.02)
    assert measured.calibration_chance < 0.01


@given(st.integers(1, 700), st.sampled_from([0.0, 0.1, 3.0]))
def test_bins_hold_about_equally_many(count: int, scale: float):
    measured = measure(torch.randn(count, 3) * scale, torch.randint(3, (count,)), 700)
    bins = measured.reliability
    assert bins.counts.sum() == count
    assert len(bins.counts) <= BINS
    assert (bins.counts * bins.confidence).sum() == pytest.approx(float(measured.confidences.sum()))
    assert (bins.counts * bins.accuracy).sum() == pytest.approx(float(measured.correct.sum()))
    assert (bins.confidence.diff() > 0).all()
    if scale:
        assert len(bins.counts) == max(1, min(BINS, count // 20))
        assert bins.counts.max() - bins.counts.min() <= 1
    else:
        assert len(bins.counts) == 1  # all are equally sure
