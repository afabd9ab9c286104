"""Alarms: each where it is due, and not a step before."""

import math
from pathlib import Path
from typing import Any

import pytest

from visarch.report.alarms import alarms
from visarch.report.run import read_run

from .pages import make_run


def alarms_of(path: Path, task: str, measured: dict[str, float], **pieces: Any) -> list[str]:
    evaluation = {"step": 99, "metrics": {"validation": measured}}
    return list(
        alarms(read_run(make_run(path / "run", task=task, evaluation=evaluation, **pieces)))
    )


def labelled(train: dict[str, int], validation: dict[str, int]) -> dict[str, Any]:
    splits = {"train": train, "validation": validation}
    return {
        "splits": {name: {"count": sum(c.values()), "classes": c} for name, c in splits.items()}
    }


# Chance


@pytest.mark.parametrize(
    ("accuracy", "guessing"), [(0.5, True), (0.58, True), (0.62, False), (0.9, False)]
)
def test_an_accuracy_that_may_be_guessing_is_an_alarm(
    tmp_path: Path, accuracy: float, guessing: bool
):
    # of 100 images, 95 % intervals begin at 0.40, 0.48, 0.52 and 0.83
    data = labelled({"a": 40, "b": 40}, {"a": 50, "b": 50})
    found = alarms_of(tmp_path, "classifier", {"accuracy": accuracy}, data=data)
    assert len(found) == guessing
    assert not guessing or "no better than guessing" in found[0]
    assert not guessing or "the most frequent class alone makes 50.0 %" in found[0]


def test_guessing_goes_by_the_classes_of_what_was_measured(tmp_path: Path):
    even, uneven = {"a": 50, "b": 50}, {"a": 80, "b": 20}
    for validation, guessing in ((even, False), (uneven, True)):
        data = labelled(even, validation)
        found = alarms_of(tmp_path, "classifier", {"accuracy": 0.8}, data=data)
        assert len(found) == guessing


def test_without_sizes_nothing_is_said_of_chance(tmp_path: Path):
    assert alarms_of(tmp_path, "classifier", {"accuracy": 0.1}) == []


# The gap to training


@pytest.mark.parametrize(
    ("held_out", "alarm"), [(0.75, True), (0.84, True), (0.86, False), (0.99, False)]
)
def test_a_large_gap_between_training_and_the_rest_is_an_alarm(
    tmp_path: Path, held_out: float, alarm: bool
):
    lines = ["step,accuracy", *(f"{step},0.5" for step in range(1, 19)), "19,0.94", "20,0.96"]
    metrics = "\n".join([*lines, "21,nan", ""])
    found = alarms_of(tmp_path, "classifier", {"accuracy": held_out}, metrics=metrics)
    assert len(found) == alarm
    assert not alarm or f"95.0 % in training and {100 * held_out:.1f} % on the val" in found[0]


# Classes


@pytest.mark.parametrize(
    ("rare", "alarm"),
    [
        (0, "There is no training image of the class b"),
        (9, "classes are of unequal sizes: 100 training images of a, 9 of b"),
        (11, None),
    ],
)
def test_unequal_classes_are_an_alarm(tmp_path: Path, rare: int, alarm: str | None):
    data = labelled({"a": 100, "b": rare}, {"a": 50, "b": 50})
    for task in ("classifier", "vae"):
        found = alarms_of(tmp_path, task, {"accuracy": 1.0}, data=data)
        assert len(found) == (alarm is not None and task == "classifier")
        assert not found or alarm in found[0]


# Bits


@pytest.mark.parametrize("task", ["vae", "diffusion"])
@pytest.mark.parametrize(
    ("bits", "levels", "alarm"),
    [(7.99, 256, False), (8.0, 256, True), (15.0, 2**16, False), (9.0, None, False)],
)
def test_no_fewer_bits_than_raw_pixels_are_an_alarm(
    tmp_path: Path, task: str, bits: float, levels: int | None, alarm: bool
):
    data = {"preparation": {"shape": [1, 8, 8], "levels": levels}}
    found = alarms_of(tmp_path, task, {"bits/dim": bits}, data=data)
    assert len(found) == alarm
    assert not alarm or "no fewer than the 8 of raw pixels" in found[0]


# Overfitting


def of_validation(path: Path, name: str, values: list[float]) -> list[str]:
    lines = [f"step,validation/{name}", *(f"{10 * i},{v}" for i, v in enumerate(values, 1))]
    run = make_run(path / "run", task="classifier", metrics="\n".join(lines) + "\n")
    return list(alarms(read_run(run)))


@pytest.mark.parametrize(
    ("name", "values", "alarm"),
    [
        ("NLL", [2.0, 0.5, 0.9], True),
        ("bits/dim", [7.0, 3.0, 3.5], True),
        ("NLL", [2.0, 0.5, 0.54], False),  # less than 0.05
        ("NLL", [2.0, 0.5, 0.6], False),  # less than a tenth of what was gained
        ("NLL", [0.5, 0.9, 1.5], False),  # never learnt: no overfitting
        ("NLL", [0.5, 0.9], False),
        ("NLL", [2.0, math.nan, 0.5, math.inf, 0.9], True),
        ("accuracy", [0.9, 0.5, 0.9], False),
        ("Brier", [2.0, 0.5, 1.5], False),
    ],
)
def test_validation_that_gets_worse_is_an_alarm(
    tmp_path: Path, name: str, values: list[float], alarm: bool
):
    found = of_validation(tmp_path, name, values)
    assert len(found) == alarm
    assert not alarm or found[0].startswith("It overfits")


def test_the_best_step_is_named(tmp_path: Path):
    (text,) = of_validation(tmp_path, "NLL", [2.0, 0.5, 0.7, 0.9])
    assert "NLL was best at step 20 (0.5000) and has risen to 0.9000 at step 40" in text
