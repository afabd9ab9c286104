"""Runs of one task: their names, what tells them apart, and which is best."""

import math
from pathlib import Path
from typing import Any

import pytest

from visarch.report.group import (
    Entry,
    by_task,
    environment_apart,
    metrics,
    record,
    same_images,
    settings_apart,
    speed,
    winners,
)
from visarch.report.run import read_run
from visarch.training.config import to_yaml
from visarch.training.vae import VAETrainConfig

from .pages import make_run

SAME = {"fingerprint": "abc"}


def group(folder: Path, *runs: dict[str, Any], task: str = "vae") -> list[Entry]:
    """Runs called a, b, c …, each with the pieces given."""
    paths = [
        make_run(folder / chr(ord("a") + place), **{"task": task, "data": SAME, **pieces})
        for place, pieces in enumerate(runs)
    ]
    (entries,) = by_task(map(read_run, paths)).values()
    return entries


def measured(*values: float, name: str = "bits/dim") -> list[dict[str, Any]]:
    return [{"evaluation": {"step": 10, "metrics": {"test": {name: value}}}} for value in values]


# Names and looks


def test_a_name_is_as_long_as_it_takes_to_be_the_only_one(tmp_path: Path):
    paths = ["x/0001", "x/0002", "y/0001", "z/x/0001"]
    runs = [read_run(make_run(tmp_path / path)) for path in paths]
    (entries,) = by_task(runs).values()
    assert [entry.name for entry in entries] == [
        f"{tmp_path.name}/x/0001",
        "0002",
        "y/0001",
        "z/x/0001",
    ]


def test_no_two_runs_look_the_same_and_colors_run_out_before_dashes_begin(tmp_path: Path):
    entries = group(tmp_path, *[{}] * 24)
    assert len({(entry.color, entry.dashes) for entry in entries}) == 24
    assert len({entry.color for entry in entries[:8]}) == 8
    assert {entry.dashes for entry in entries[:8]} == {"solid"}


def test_each_task_is_a_group_with_its_own_colors(tmp_path: Path):
    tasks = ("vae", "classifier", "vae")
    runs = [read_run(make_run(tmp_path / str(i), task=task)) for i, task in enumerate(tasks)]
    groups = by_task(runs)
    assert [(task, [entry.name for entry in of]) for task, of in groups.items()] == [
        ("vae", ["0", "2"]),
        ("classifier", ["1"]),
    ]
    assert groups["classifier"][0].color == groups["vae"][0].color == "run-1"


# Which is best


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("bits/dim", [3.0, 2.0, 2.5], {1}),
        ("ELBO", [3.0, 2.0, 2.5], {0}),
        ("bits/dim", [2.0, 3.0, 2.0], {0, 2}),
        ("bits/dim", [2.0, 2.0], set()),
        ("bits/dim", [float("nan"), 2.0, 3.0], {1}),
        ("ELBO", [float("inf"), 2.0, 3.0], {2}),
        ("bits/dim", [2.0], set()),
        ("KL", [3.0, 2.0], set()),  # neither way is better
        ("loss", [3.0, 2.0], set()),  # settings make it another quantity
        ("something new", [3.0, 2.0], set()),
    ],
)
def test_the_best_goes_by_the_direction_of_the_metric(
    tmp_path: Path, name: str, values: list[float], best: set[int]
):
    assert winners(group(tmp_path, *measured(*values, name=name)), "test", name) == best


def test_a_run_that_was_not_measured_is_in_nobody_s_way(tmp_path: Path):
    entries = group(tmp_path, {}, *measured(3.0, 2.0), *measured(9.0, name="KL"))
    assert winners(entries, "test", "bits/dim") == {2}
    assert winners(entries, "validation", "bits/dim") == set()
    assert metrics(entries, "test") == ["bits/dim", "KL"]


def samples(source: str, names: list[str], fingerprint: str | None) -> dict[str, Any]:
    content = {"source": source, "splits": {"test": {"count": len(names), "names": names}}}
    return content | ({} if fingerprint is None else {"fingerprint": fingerprint})


@pytest.mark.parametrize(
    ("others", "pixels", "classes"),
    [
        (samples("cats", ["1", "2"], "abc"), True, True),
        (samples("moved", ["8", "9"], "abc"), True, True),
        (samples("cats", ["1", "2"], "def"), False, True),  # in another size, say
        (samples("dogs", ["1", "2"], "def"), False, False),
        (samples("cats", ["1", "3"], "def"), False, False),
        (samples("cats", ["1", "2"], None), False, True),
        ({}, False, False),
    ],
)
def test_only_what_was_measured_on_the_same_images_is_compared(
    tmp_path: Path, others: dict[str, Any], pixels: bool, classes: bool
):
    own = samples("cats", ["1", "2"], "abc")
    for task, name, same in (("vae", "bits/dim", pixels), ("classifier", "NLL", classes)):
        one, other = measured(3.0, 2.0, name=name)
        entries = group(tmp_path, one | {"data": own}, other | {"data": others}, task=task)
        assert same_images(entries, "test") == same
        assert winners(entries, "test", name) == ({1} if same else set())


# What tells them apart


def test_only_settings_that_differ_are_told(tmp_path: Path):
    configs = [
        VAETrainConfig(data="digits", out="runs/a", seed=1),
        VAETrainConfig(data="digits", out="runs/b", steps=40),
        VAETrainConfig(data="digits", name="c", compile=True),
    ]
    entries = group(tmp_path, *[{}] * 3)
    for entry, config in zip(entries, configs, strict=True):
        (entry.run.path / "config.yaml").write_text(to_yaml(config, task="vae"), "utf-8")
    (entries,) = by_task([read_run(entry.run.path) for entry in entries]).values()
    assert {name: list(values) for name, values in settings_apart(entries)} == {
        "steps": ["–", "40", "–"],
        "seed": ["1", "0", "0"],
        "compile": ["–", "–", "true"],
    }


def test_a_setting_that_a_run_lacks_is_told_if_another_departs_from_the_default(tmp_path: Path):
    entries = group(
        tmp_path,
        {"config": {"seed": 0, "ema": 0.1}},  # 0 is the default of the one, 0.05 of the other
        {"config": {}},
    )
    assert settings_apart(entries) == [("ema", ["0.1", None])]


def test_what_was_inferred_is_told_unless_it_is_a_setting_that_is_told(tmp_path: Path):
    def inferred(patch_size: str, steps: int) -> dict[str, Any]:
        reasons = [("patch size", patch_size), ("steps", str(steps)), ("split", "the same")]
        entries = [{"what": what, "value": value, "why": ""} for what, value in reasons]
        return {"data": {"reasons": entries}, "config": {"steps": steps}}

    entries = group(tmp_path, inferred("2", 100), inferred("4", 200))
    assert settings_apart(entries) == [
        ("steps", ["100", "200"]),
        ("patch size (inferred)", ["2", "4"]),
    ]


def test_the_environment_is_that_of_the_last_start(tmp_path: Path):
    first = {"device": "cpu", "cores": 2, "versions": {"torch": "2.12", "numpy": "2.4"}}
    last = {"device": "cuda:0", "cores": 2, "versions": {"torch": "2.13", "numpy": "2.4"}}
    entries = group(tmp_path, {"starts": [first, last]}, {"starts": [first]}, {})
    assert environment_apart(entries) == [
        ("device", ["cuda:0", "cpu", None]),
        ("cores", ["2", "2", None]),
        ("torch", ["2.13", "2.12", None]),
        ("numpy", ["2.4", "2.4", None]),
    ]


# Numbers


def test_the_speed_is_the_median_of_what_is_known(tmp_path: Path):
    (entry,) = group(
        tmp_path, {"metrics": "step,images_per_second\n1,5\n2,100\n3,nan\n4,110\n5,\n"}
    )
    assert speed(entry.run) == 100
    (entry,) = group(tmp_path, {"metrics": "step,images_per_second\n1,nan\n"})
    assert speed(entry.run) is None


def test_a_record_holds_what_programs_compare(tmp_path: Path):
    entries = group(tmp_path, *measured(float("nan"), 2.0), *measured(3.0))
    assert math.isnan(record(entries[0], entries)["metrics"]["test"]["bits/dim"])
    told = record(entries[1], entries)
    assert told["best"] == {"test": ["bits/dim"]}
    assert (told["step"], told["finished"], told["measured_at_step"]) == (10, True, {"test": 10})
