"""Curves of several runs in the same charts: over what, in which colors, on which scale."""

import re
from pathlib import Path
from typing import Any

import pytest

from visarch.report.curves import scale
from visarch.report.group import by_task
from visarch.report.markup import Html
from visarch.report.overlay import overlaid_figures
from visarch.report.run import read_run

from .pages import Page, make_run

METRICS = (
    "step,loss,learning_rate,images_per_second,validation/accuracy\n"
    "10,2,0.1,640,\n20,1.5,0.1,640,0.5\n30,1.2,0.1,640,\n40,1,0.1,640,0.75\n"
)


def figures(folder: Path, *runs: dict[str, Any], task: str = "classifier") -> dict[str, Html]:
    """Charts by what they show."""
    pieces = {"task": task, "metrics": METRICS}
    paths = [make_run(folder / str(place), **pieces | run) for place, run in enumerate(runs)]
    (entries,) = by_task(map(read_run, paths)).values()
    return {
        str(Page(figure).all("svg")[0]["aria-label"]): figure
        for figure in overlaid_figures(entries)
    }


def ticks(figure: Html, across: str) -> list[float]:
    """Of the axis that curves are drawn over."""
    texts = Page(figure).texts
    before = texts[: texts.index(across)]
    return [float(text.replace(",", "")) for text in before if text[:1].isdecimal()]


def batch(size: object) -> dict[str, Any]:
    return {"config": {"batch_size": size}}


def test_each_run_has_its_color_in_every_chart(tmp_path: Path):
    drawn = figures(tmp_path, batch(64), batch(64))
    assert [*drawn] == [
        "Accuracy of 2 runs over step",
        "Accuracy of 2 runs over seconds of training",
        "Loss of 2 runs over step",
        "Learning rate of 2 runs over step",
        "Speed of 2 runs over step",
    ]
    for figure in drawn.values():
        assert "var(--run-1)" in figure
        assert "var(--run-2)" in figure
        assert "var(--train)" not in figure
        assert "var(--validation)" not in figure


def test_training_is_pale_only_behind_validation(tmp_path: Path):
    metrics = "step,accuracy,loss,validation/accuracy\n1,0.1,3,0.2\n2,0.3,2,0.4\n"
    accuracy, loss = figures(tmp_path, {"metrics": metrics}, {"metrics": metrics}).values()
    for color in ("run-1", "run-2"):
        lines = re.findall(rf"stroke: var\(--{color}\)[^\"]*stroke-linecap[^\"]*", accuracy)
        assert sorted("opacity" in line for line in lines) == [False, True]
    assert "validation; pale: training" in Page(accuracy).texts
    assert "stroke-opacity" not in loss
    assert "training" in Page(loss).texts


def test_a_run_without_a_quantity_is_not_in_its_chart(tmp_path: Path):
    drawn = figures(tmp_path, {}, {"metrics": "step,loss\n10,2\n20,1\n"}, {"metrics": "step\n"})
    assert "Loss of 2 runs over step" in drawn
    assert "var(--run-2)" not in drawn["Accuracy of 1 runs over step"]


@pytest.mark.parametrize(
    ("sizes", "across"),
    [((64, 64), "step"), ((64, 32), "training images seen"), ((64, None), "step")],
)
def test_runs_are_compared_over_what_they_have_seen(
    tmp_path: Path, sizes: tuple[object, object], across: str
):
    drawn = figures(tmp_path, *map(batch, sizes))
    figure = drawn[f"Loss of 2 runs over {across}"]
    assert max(ticks(figure, across)) == (40 if across == "step" else 2000)  # of 40 · 64


@pytest.mark.parametrize(
    ("size", "unit", "end"), [(64, "seconds", 4), (6400, "minutes", 6), (640_000, "hours", 10)]
)
def test_time_is_in_a_unit_that_it_fills(tmp_path: Path, size: int, unit: str, end: float):
    drawn = figures(tmp_path, batch(size), batch(size))  # 0.1, 10 and 1000 seconds for each step
    across = f"{unit} of training"
    assert max(ticks(drawn[f"Accuracy of 2 runs over {across}"], across)) == end


def test_a_run_of_unknown_speed_is_not_over_time(tmp_path: Path):
    drawn = figures(tmp_path, batch(64), batch(None))
    assert "var(--run-2)" not in drawn["Accuracy of 1 runs over seconds of training"]


def test_a_short_run_stays_on_the_chart_beside_a_long_one():
    long = [(float(step), 50.0 if step < 50 else 1.0 + step % 3) for step in range(1, 1000)]
    short = [(float(step), 30.0 - step) for step in range(1, 20)]
    assert scale("KL", [long])[1] is not None
    _, limits = scale("KL", [long, short])
    assert limits is None or limits[1] > max(value for step, value in short if step > 3)


def test_values_that_are_not_finite_are_told(tmp_path: Path):
    metrics = "step,loss\n1,3\n2,nan\n3,1\n"
    (figure,) = figures(tmp_path, {"metrics": metrics}, {"metrics": metrics}).values()
    assert "training · × 2 not finite" in Page(figure).texts
