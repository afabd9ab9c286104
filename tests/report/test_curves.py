"""Curves: which quantities share a chart, on which scale, and that any values can be drawn."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visarch.objectives.elbo import bits_per_dim
from visarch.report.chart import Curve, chart
from visarch.report.curves import Panel, panels, training_seconds, view
from visarch.report.run import Run, read_run

from .pages import Page, make_run

DATA = {"preparation": {"shape": [1, 28, 28], "levels": 256}}


def run_with(tmp_path: Path, metrics: str, **config: object) -> Run:
    return read_run(make_run(tmp_path / "run", metrics=metrics, data=DATA, config=config))


def view_of(tmp_path: Path, name: str, values: list[float], split: str = "train"):
    points = [(10.0 * number, value) for number, value in enumerate(values, 1)]
    return view(Panel(name, [Curve(split, points)]), run_with(tmp_path, "step\n", clip=0.5))


# Panels


def test_training_and_validation_share_a_panel_and_test_has_none(tmp_path: Path):
    metrics = "step,KL,validation/KL,test/KL\n1,5,,\n2,4,4.5,\n3,3,3.5,3.6\n"
    (panel,) = panels(run_with(tmp_path, metrics))
    assert panel.name == "KL"
    assert panel.curves == [
        Curve("train", [(1, 5), (2, 4), (3, 3)]),
        Curve("validation", [(2, 4.5), (3, 3.5)]),
    ]


def test_training_is_in_the_bits_that_validation_is_measured_in(tmp_path: Path):
    nats_per_image = -640.0
    metrics = (
        f"step,loss,nats/dim,validation/bits/dim\n1,2,{-nats_per_image / 784!r},\n"
        f"2,2,{-nats_per_image / 784!r},{bits_per_dim(nats_per_image, 784, 256)!r}\n"
    )
    bits, loss = panels(run_with(tmp_path, metrics))
    train, validation = bits.curves
    assert train.points[0][1] == pytest.approx(validation.points[0][1])
    assert (bits.name, loss.name) == ("bits/dim", "loss")


def test_a_loss_that_says_the_same_once_more_is_left_out(tmp_path: Path):
    metrics = "step,loss,nats/dim\n1,2.5,2.5\n2,1.5,1.5\n"
    assert [panel.name for panel in panels(run_with(tmp_path, metrics))] == ["bits/dim"]


def test_known_quantities_come_first_and_single_values_not_at_all(tmp_path: Path):
    metrics = "step,zeal,learning_rate,once,skipped_steps,KL\n1,1,1,1,0,1\n2,1,1,,0,1\n"
    names = [panel.name for panel in panels(run_with(tmp_path, metrics))]
    assert names == ["KL", "learning_rate", "zeal"]


# Reading metrics.csv


@pytest.mark.parametrize(
    ("metrics", "rows", "problem"),
    [
        ("step,a\n1,2\n2,3", [{"step": 1, "a": 2}], "cut off"),
        ("step,a\n1,2\n2,x\n", [{"step": 1, "a": 2}, {"step": 2}], "1 line of metrics.csv"),
        ("step,a\nx,2\n,2\n2,3\n", [{"step": 2, "a": 3}], "2 lines of metrics.csv"),
        ("step,a\n1\n2,3,4\n", [{"step": 1}, {"step": 2, "a": 3}], "2 lines of metrics.csv"),
        ("step,a\n2,3\n1,2\n", [{"step": 1, "a": 2}, {"step": 2, "a": 3}], None),
        ("step,a,b\n1,2,\n1,,3\n", [{"step": 1, "a": 2, "b": 3}], None),
        ("step,a\nnan,2\ninf,2\n", [], None),
    ],
)
def test_rows_that_are_not_whole(tmp_path: Path, metrics: str, rows: list, problem: str | None):
    run = run_with(tmp_path, metrics)
    assert run.rows == rows
    assert len(run.problems) == (problem is not None)
    assert problem is None or problem in run.problems[0]


def test_training_time_is_that_of_the_steps(tmp_path: Path):
    metrics = "step,images_per_second\n10,100\n30,400\n40,\n50,nan\n60,0\n"
    run = run_with(tmp_path, metrics, batch_size=20)
    assert training_seconds(run) == pytest.approx(10 * 20 / 100 + 20 * 20 / 400)
    assert training_seconds(run_with(tmp_path, metrics)) is None


# Views


def test_gradients_are_on_a_log_scale_if_they_span_much_and_rates_never_are(tmp_path: Path):
    assert view_of(tmp_path, "gradient_norm", [50, 1, 0.5]).log
    assert not view_of(tmp_path, "gradient_norm", [1.5, 1, 0.5]).log
    assert not view_of(tmp_path, "gradient_norm", [50, 1, 0]).log
    assert not view_of(tmp_path, "learning_rate", [50, 1, 0.5]).log


def test_the_clip_is_marked_on_the_gradients_alone(tmp_path: Path):
    clipped = view_of(tmp_path, "gradient_norm", [1, 2])
    assert (clipped.line, clipped.notes) == (0.5, ["dashed: clipped to 0.5"])
    assert view_of(tmp_path, "KL", [1, 2]).line is None
    far = view_of(tmp_path, "gradient_norm", [12, *[5, 4] * 10])
    assert far.notes == ["clipped to 0.5", "starts at 12, off the chart"]


def test_first_values_may_leave_the_chart_and_later_ones_never_do(tmp_path: Path):
    early = view_of(tmp_path, "KL", [900, *range(20, 0, -1)])
    assert early.limits is not None
    low, high = early.limits
    assert low < 1
    assert 19 < high < 25
    assert early.notes == ["starts at 900, off the chart"]
    assert view_of(tmp_path, "KL", [*range(20, 10, -1), 900, *range(10, 0, -1)]).limits is None
    assert view_of(tmp_path, "KL", [900, 2, 1]).limits is None  # too few to tell
    assert view_of(tmp_path, "learning_rate", [900, *range(20, 0, -1)]).limits is None


@pytest.mark.parametrize(
    ("name", "note"),
    [("bits/dim", ["best 3 at step 20"]), ("accuracy", ["best 8 at step 30"]), ("KL", [])],
)
def test_the_best_validation_is_named(tmp_path: Path, name: str, note: list[str]):
    assert view_of(tmp_path, name, [5, 3, 8, math.nan], "validation").notes[: len(note)] == note
    assert not view_of(tmp_path, name, [5, 3, 8], "train").notes


def test_values_that_are_not_finite_are_counted(tmp_path: Path):
    assert view_of(tmp_path, "KL", [1, math.nan, 2, math.inf]).notes == ["× 2 not finite"]


# Charts


def drawn(curves: list[Curve], **options) -> str:
    last = max(step for curve in curves for step, _ in curve.points)
    return chart(curves, name="c", label='a "<label>"', last_step=last, **options)


anything = st.lists(st.floats(width=32), min_size=1, max_size=40)


@settings(max_examples=30)
@given(anything, anything)
@example([math.nan], [math.inf, -math.inf])
@example([0.0], [3.4e38, -3.4e38])
@example([1e-45], [5.0] * 400)
def test_any_values_can_be_drawn(train: list[float], validation: list[float]):
    curves = [
        Curve(split, [(float(step), value) for step, value in enumerate(values, 1)])
        for split, values in (("train", train), ("validation", validation))
    ]
    (svg,) = Page(drawn(curves)).all("svg")
    assert svg["aria-label"] == 'a "<label>"'


@pytest.mark.parametrize("lowest", [1e-12, 1e-4, 0.01, 0.5])
def test_a_log_scale_has_a_few_ticks_whatever_it_spans(lowest: float):
    svg = drawn([Curve("train", [(1, 30.0), (2, lowest), (3, math.nan)])], log=True)
    ticks = Page(svg).texts[len(["0", "1", "2", "3", "step"]) :]
    assert 2 <= len(ticks) <= 8
    assert len(set(ticks)) == len(ticks)


def test_a_chart_takes_its_colors_and_its_font_from_the_page():
    svg = drawn([Curve("train", [(1, 2), (2, 3)]), Curve("validation", [(1, math.nan), (2, 1)])])
    for color in ("train", "validation", "alarm", "muted", "line"):
        assert f"var(--{color})" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("url(#", ""))
    assert "font-family" not in svg
    assert "http" not in svg
    assert "xmlns" not in svg


def test_charts_of_other_names_share_no_ids():
    curve = Curve("train", [(1, 2), (2, 3)])
    ids = [
        {
            a["id"]
            for _, a in Page(chart([curve], name=name, label="", last_step=2)).tags
            if "id" in a
        }
        for name in ("one", "other")
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_long_curve_is_thinned_and_keeps_its_extremes():
    values = [1.0] * 100_000
    values[50_000], values[70_000] = 9.0, math.nan
    svg = drawn([Curve("train", [(float(step), value) for step, value in enumerate(values)])])
    assert len(svg) < 60_000
    ticks = [float(text) for text in re.findall(r">([\d.]+)</text>", svg)]
    assert 8 in ticks  # the axis reaches the extreme
    assert "var(--alarm)" in svg
