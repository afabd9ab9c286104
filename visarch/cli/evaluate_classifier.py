"""What `visarch evaluate` tells of a classifier: how often it is right, how sure, and where not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from visarch.cli.evaluate import Findings, Question
from visarch.data import Split
from visarch.errors import UserError
from visarch.evaluation.classification import ClassifierMeasurement
from visarch.inference.classifier import SHOWN_MISTAKES, class_names, measure, pictures
from visarch.models.resnet import ResNet
from visarch.outputs import place, save_picture

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

_MEANINGS = {
    "accuracy": "images whose class is found",
    "top-5": "images whose class is among the five likeliest",
    "balanced accuracy": "mean over the classes of the share that is found",
    "NLL": "−log p(class | image), nats per image",
    "Brier": "squared distance of p from the right answer, of 2",
    "calibration error": "mean distance between confidence and accuracy",
}
_SHARES = ("accuracy", "top-5", "balanced accuracy", "calibration error")
_MOST_CLASSES = 30
"""Classes up to which all are listed."""
_LISTED_MISTAKES = 5


def evaluate_classifier(question: Question) -> Findings:
    """Measure a classifier.

    Raises:
        UserError: the images have no labels.
    """
    run = question.run.of(ResNet)
    classes = class_names(run.model, run.classes, run.source)
    split, remarks = _labelled(question)
    measured = measure(
        run.model,
        split,
        run.preparation.levels,
        mirrored=question.flags.mirrored,
        progress=question.progress,
    )
    lines = [
        f"A calibrated classifier would have a calibration error of about "
        f"{measured.calibration_chance:.2%} by chance alone."
    ]
    if len(classes) > _MOST_CLASSES:
        lines.append(f"Of {len(classes)} classes, those with the lowest F1 are listed.")
    return Findings(
        measured.num_images,
        _record(measured, split, classes) | {"mirrored": question.flags.mirrored},
        [_table(measured), _class_table(measured, classes)],
        lines + _mistake_lines(measured, split, classes),
        remarks,
        _pictures(question, measured, split, classes),
    )


def _labelled(question: Question) -> tuple[Split, list[str]]:
    """The images that have labels, and a remark on those that have none."""
    split = question.split
    if split.labels is None and split.labelled:
        raise UserError(
            f"The {split.name} images of {question.data.source} are streamed, and their labels are "
            "known only while they are read: choose a held-out --split."
        )
    if split.labels is None:
        raise UserError(
            f"The {split.name} images of {question.data.source} have no labels, by which a "
            "classifier is measured: sort them into sub-folders named after the classes, or choose "
            "another --split."
        )
    known = (split.labels >= 0).nonzero().flatten().tolist()
    if len(known) == len(split):
        return split, []
    remark = f"{len(split) - len(known)} images without a label are not measured."
    return split.take(split.name, known), [remark]


def _table(measured: ClassifierMeasurement) -> Table:
    from rich.table import Table

    table = Table("", header_style="bold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("meaning", no_wrap=True)
    intervals, errors = measured.intervals(), measured.standard_errors()
    for name, value in measured:
        as_share = name in _SHARES
        shown = f"{value:.2%}" if as_share else f"{value:.4f}"
        interval = ""
        if name in intervals:
            low, high = intervals[name]
            interval = f"{low:.2%} to {high:.2%}"
        elif not math.isnan(errors.get(name, math.nan)):
            half = 1.96 * errors[name]
            interval = f"{value - half:.4f} to {value + half:.4f}"
        table.add_row(name, shown, interval, _MEANINGS[name])
    return table


def _class_table(measured: ClassifierMeasurement, classes: tuple[str, ...]) -> Table:
    """Every class; of many, those that are told apart worst."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("class", header_style="bold")
    for heading in ("images", "precision", "recall", "F1", "mostly confused with"):
        table.add_column(heading, justify="right" if heading != "mostly confused with" else "left")
    counts, precision, recall, f1 = measured.per_class
    rows = list(range(len(classes)))
    if len(rows) > _MOST_CLASSES:
        rows = f1.nan_to_num(2).argsort(stable=True)[:_MOST_CLASSES].tolist()
    for row in rows:
        shares = (float(column[row]) for column in (precision, recall, f1))
        shown = ("–" if math.isnan(share) else f"{share:.1%}" for share in shares)
        confused = escape(_confused(measured, row, classes))
        table.add_row(escape(classes[row]), f"{counts[row]:,}", *shown, confused)
    return table


def _confused(measured: ClassifierMeasurement, row: int, classes: tuple[str, ...]) -> str:
    """What images of a class are most often read as instead."""
    others = measured.confusion[row].clone()
    others[row] = 0
    most = int(others.argmax())
    return f"{classes[most]} ({others[most]})" if others[most] else ""


def _mistake_lines(
    measured: ClassifierMeasurement, split: Split, classes: tuple[str, ...]
) -> list[str]:
    mistakes = _mistakes(measured, split, classes)[:_LISTED_MISTAKES]
    if not mistakes:
        return ["Not one image is read wrongly."]
    return ["Most confident mistakes:"] + [
        f"  {m['name']}: {m['class']} → {m['read as']}, {m['confidence']:.1%}" for m in mistakes
    ]


def _mistakes(
    measured: ClassifierMeasurement, split: Split, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    return [
        {
            "name": split.names[position],
            "class": classes[int(measured.labels[position])],
            "read as": classes[int(measured.predictions[position])],
            "confidence": float(measured.confidences[position]),
        }
        for position in measured.mistakes(SHOWN_MISTAKES).tolist()
    ]


def _pictures(
    question: Question, measured: ClassifierMeasurement, split: Split, classes: tuple[str, ...]
) -> list[Path]:
    run = question.run
    facts = {"Run": run.source, "Data": question.data.source, "Split": split.name}
    paths = []
    for name, picture in pictures(measured, split, run.preparation.levels, classes).items():
        paths.append(place(run, None, f"{name} {split.name}", ".png"))
        save_picture(paths[-1], picture, facts)
    return paths


def _record(
    measured: ClassifierMeasurement, split: Split, classes: tuple[str, ...]
) -> dict[str, Any]:
    errors, bins = measured.standard_errors(), measured.reliability
    table = zip(classes, *(column.tolist() for column in measured.per_class), strict=True)
    return {
        "metrics": dict(measured),
        "intervals": measured.intervals(),
        "standard_errors": errors,
        "calibration_error_by_chance": measured.calibration_chance,
        "classes": [
            {
                "class": name,
                "images": count,
                "precision": precision,
                "recall": recall,
                "f1": f1,
            }
            for name, count, precision, recall, f1 in table
        ],
        "confusion": measured.confusion.tolist(),
        "reliability": {
            name: column.tolist() for name, column in bins._asdict().items() if name != "chance"
        },
        "mistakes": _mistakes(measured, split, classes),
    }
