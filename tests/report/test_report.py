"""The whole page: of a real run, of runs with pieces missing or damaged, and of hostile ones."""

import base64
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from visarch.errors import UserError
from visarch.hub import load
from visarch.models.config import VAEHyperparameters
from visarch.report import write_comparison, write_report
from visarch.report.run import read_run
from visarch.training.vae import VAETrainConfig, train_vae

from .pages import HOSTILE, assert_self_contained, make_run, read

RESULT = {"bits/dim": 3.5, "ELBO": -100.0, "KL": 20.0, "active units": 9.0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps on a folder with two classes and a broken file."""
    folder = tmp_path_factory.mktemp("trained")
    noise = np.random.default_rng(0)
    for number in range(40):
        path = folder / "images" / f"<b>{number % 2}</b>".replace("/", "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    (path.parent / "broken.png").write_bytes(b"no picture")
    config = VAETrainConfig(
        data=str(folder / "images"),
        out=str(folder / "run"),
        steps=20,
        batch_size=4,
        log_every=2,
        evaluate_every=5,
        sample_every=10,
        device="cpu",
        model=VAEHyperparameters(latent_dim=6, channels=8, depth=1),
    )
    assert train_vae(config) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to take apart."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


# A real run


def test_the_page_of_a_run_tells_all_of_it(trained: Path):
    page = read(trained / "report.html")
    assert_self_contained(page)
    assert page.headings()[1:] == [
        *("curves", "pictures", "samples-over-time", "data", "settings", "environment", "commands")
    ]
    assert "finished after 20 steps" in page.text
    num_parameters = sum(parameter.numel() for parameter in load(trained).parameters())
    assert f"{num_parameters:,}" in page.text
    measured = json.loads((trained / "evaluation.json").read_text())["metrics"]
    assert f"{list(measured.values())[-1]['bits/dim']:.4g}" in page.text
    assert "broken.png" in page.text
    assert "<b>1<b>" in page.text  # a class, not a tag
    assert not page.all("b")


def test_the_latest_pictures_are_in_the_page_as_they_are(trained: Path):
    sources = {image["src"] for image in read(trained / "report.html").all("img")}
    for name in ("reconstructions", "samples", "traversal", "latents"):
        for step in (10, 20):
            picture = trained / "samples" / f"step-{step:06d}-{name}.png"
            assert (as_source(picture) in sources) == (step == 20)
    assert sum(source.startswith("data:image/jpeg") for source in sources) == 2  # over time


def as_source(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def test_the_same_folder_makes_the_same_page(trained: Path):
    before = (trained / "report.html").read_bytes()
    files = {path for path in trained.rglob("*") if path.is_file()}
    assert write_report(trained) == trained / "report.html"
    assert (trained / "report.html").read_bytes() == before
    assert {path for path in trained.rglob("*") if path.is_file()} == files


def test_a_failure_leaves_the_page_that_is_there(run: Path, monkeypatch: pytest.MonkeyPatch):
    before = (run / "report.html").read_bytes()
    (run / "samples" / "step-000020-samples.png").unlink()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"report\.html could not be written"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob(".*.partial"))


def refuse(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


# Missing and damaged pieces


@pytest.mark.parametrize(
    ("piece", "section"),
    [
        ("metrics.csv", "curves"),
        ("samples", "pictures"),
        ("data.json", "data"),
        ("environment.json", "environment"),
        ("evaluation.json", None),
        ("checkpoints", None),
        ("model", None),
    ],
)
def test_what_is_missing_is_left_out(run: Path, piece: str, section: str | None):
    whole = read(run / "report.html").headings()
    path = run / piece
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = read(write_report(run))
    assert_self_contained(page)
    missing = {section, "samples-over-time"} if piece == "samples" else {section}
    assert page.headings() == [
        heading for heading in whole if heading is None or heading not in missing
    ]


def test_settings_alone_make_a_page(tmp_path: Path):
    page = read(write_report(make_run(tmp_path / "run")))
    assert page.headings() == ["settings", "commands"]
    assert "not finished: 0 steps done" in page.text


@pytest.mark.parametrize(
    "metrics",
    ["", "step", "step,loss\n", "step,loss\n10,4.5", "\0\0\0\n\0", "no,steps\n1,2\n", "\n\n"],
)
def test_metrics_without_a_whole_row_are_no_curves(tmp_path: Path, metrics: str):
    page = read(write_report(make_run(tmp_path / "run", metrics=metrics)))
    assert "curves" not in page.headings()


@pytest.mark.parametrize("name", ["data.json", "environment.json", "evaluation.json"])
@pytest.mark.parametrize("content", ['{"splits": {"tr', "", "3", "\xff"])
def test_damaged_files_are_named(run: Path, name: str, content: str):
    (run / name).write_bytes(content.encode("latin-1"))
    page = read(write_report(run))
    assert_self_contained(page)
    assert re.search(rf"{name} (cannot be read|does not hold)", page.text)


@pytest.mark.parametrize(
    "name", ["samples/step-000020-samples.png", "samples/step-000010-samples.png"]
)
@pytest.mark.parametrize("kept", [0, 20, 200])
def test_damaged_pictures_are_named_once(run: Path, name: str, kept: int):
    (run / name).write_bytes((run / name).read_bytes()[:kept])
    page = read(write_report(run))
    assert_self_contained(page)
    assert page.text.count(f"{name} cannot be read") == 1


def test_a_damaged_checkpoint_is_named(run: Path):
    path = run / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "The last checkpoint cannot be read" in read(write_report(run)).text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"not a run folder"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("task: [")
    with pytest.raises(UserError, match=r"cannot be read as YAML"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_heavy_picture_is_put_in_smaller(tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / "samples").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (900, 1800, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(run / "samples" / "step-000010-samples.png")
    report = write_report(run)
    (image,) = read(report).all("img")
    assert (image["width"], image["height"]) == ("1800", "900")
    assert "smaller copy of samples/step-000010-samples.png" in str(image["alt"])
    assert report.stat().st_size < (run / "samples" / "step-000010-samples.png").stat().st_size / 2


def test_eight_thumbnails_at_most_show_the_first_and_the_last_step(tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / "samples").mkdir()
    for step in range(100, 3000, 100):
        Image.new("RGB", (8, 8)).save(run / "samples" / f"step-{step:06d}-samples.png")
    alts = [image["alt"] for image in read(write_report(run)).all("img")]
    assert alts[0] == "Samples"
    assert len(alts) == 9
    assert (alts[1], alts[-1]) == ("Samples at step 100", "Samples at step 2900")


# How far a run is


def test_an_interrupted_run_shows_what_it_reached_and_how_to_go_on(run: Path):
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "model")
    rows = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(rows[:7]))  # 2, 4, 5, 6, 8, 10
    page = read(write_report(run))
    assert "not finished: 20 of 20 steps done" in page.text
    assert "after step 10" in page.text  # the last evaluation on the way
    assert f"visarch train --resume {run}" in page.text
    assert "visarch sample" not in page.text


def test_a_run_that_went_on_after_its_end_says_so(run: Path):
    evaluation = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(evaluation | {"step": 12}))
    page = read(write_report(run))
    assert "measured after step 12; the run has gone on to step 20" in page.text
    assert "not finished" in page.text


# Alarms


@pytest.mark.parametrize(
    ("changes", "alarm"),
    [
        ({"KL": 0.2}, "The posterior has collapsed"),
        ({"active units": 0.0}, "The posterior has collapsed"),
        (
            {"bits/dim": float("nan"), "ELBO": float("-inf")},
            "Not finite on the test images: bits/dim, ELBO",
        ),
        ({}, None),
    ],
)
def test_alarms(tmp_path: Path, changes: dict[str, float], alarm: str | None):
    metrics = {"validation": RESULT, "test": RESULT | changes}
    evaluation = {"step": 10, "metrics": metrics}
    config = {"model": {"latent_dim": 64}}
    page = read(write_report(make_run(tmp_path / "run", config=config, evaluation=evaluation)))
    alarms = [attributes for attributes in page.all("p") if attributes.get("class") == "alarm"]
    assert len(alarms) == (alarm is not None)
    assert alarm is None or alarm in page.text


def test_skipped_steps_are_an_alarm(tmp_path: Path):
    metrics = "step,loss,skipped_steps\n10,1.0,0\n20,2.0,3\n30,2.0,3\n"
    page = read(write_report(make_run(tmp_path / "run", metrics=metrics)))
    assert "3 steps were skipped because loss or gradient was not finite" in page.text


# Hostile names


def test_hostile_names_stay_text(tmp_path: Path):
    name = HOSTILE.replace("/", "⁄")
    run = make_run(
        tmp_path / name,
        config={"data": HOSTILE, "name": HOSTILE, "model": {"block": HOSTILE}, HOSTILE: HOSTILE},
        metrics=f'step,"{HOSTILE.replace(chr(34), chr(34) * 2)}",loss\n1,2.0,3.0\n2,3.0,4.0\n',
        evaluation={"step": 2, "metrics": {HOSTILE: {HOSTILE: 1.0}}},
        data={
            "source": HOSTILE,
            "classes": [HOSTILE],
            "fingerprint": HOSTILE,
            "reasons": [{"what": HOSTILE, "value": HOSTILE, "why": HOSTILE}],
            "skipped": [{"name": HOSTILE, "why": HOSTILE}],
            "splits": {HOSTILE: {"count": 3, "classes": {HOSTILE: 3}}},
        },
        starts=[dict.fromkeys(("started", "command", "folder", "device", "commit"), HOSTILE)] * 2,
    )
    (run / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(run / "samples" / f"step-000002-{name}.png")
    (run / "samples" / f"step-000003-{name}2.png").write_bytes(b"")
    report = write_report(run)
    page = read(report)
    assert_self_contained(page)
    assert page.text.count("<script>alert('x')</script> & \">") > 20
    assert "<script" not in report.read_text("utf-8")
    assert {str(image["src"])[:15] for image in page.all("img")} == {"data:image/png;"}


def test_names_that_are_no_unicode_are_no_obstacle(tmp_path: Path):
    data = {"source": "a\udcffb", "skipped": [{"name": "\udce4.png", "why": "broken"}]}
    assert "a?b" in read(write_report(make_run(tmp_path / "run", data=data))).text


# Other tasks


@pytest.mark.parametrize("task", ["classifier", "diffusion", "something new"])
def test_every_task_has_a_page(tmp_path: Path, task: str):
    metrics = (
        "step,loss,learning_rate,validation/accuracy\n10,2.0,0.1,\n20,1.0,0.1,0.5\n30,,,0.75\n"
    )
    evaluation = {"step": 30, "metrics": {"validation": {"accuracy": 0.75, "note": "no number"}}}
    run = make_run(tmp_path / "run", task=task, metrics=metrics, evaluation=evaluation)
    (run / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(run / "samples" / "step-000030-some_picture.png")
    page = read(write_report(run))
    assert_self_contained(page)
    assert page.headings()[1:] == ["curves", "pictures", "settings", "commands"]
    assert "Some picture" in page.text
    assert "best 75 at step 30" in page.text  # in %


def test_an_accuracy_is_shown_beside_its_interval_and_guessing(tmp_path: Path):
    metrics = {"NLL": 0.5, "accuracy": 0.9, "balanced accuracy": 0.85}
    data = {"splits": {"test": {"count": 100, "classes": {"a": 75, "b": 25}}}}
    evaluation = {"step": 10, "metrics": {"test": metrics}}
    run = make_run(tmp_path / "run", task="classifier", evaluation=evaluation, data=data)
    page = read(write_report(run))
    titles = ["Accuracy", "Balanced accuracy", "NLL"]
    assert [text for text in page.texts if text in titles][: len(titles)] == titles
    assert "90.00 %" in page.texts
    assert "95 % interval 82.6–94.5, guessing 75" in page.texts
    assert "−log p(class | image): cross-entropy without smoothing; lower is better" in page.texts


def test_splits_on_which_nothing_was_measured_are_left_out(tmp_path: Path):
    evaluation = {"step": 10, "metrics": {"validation": {"accuracy": 0.5}, "test": {}}}
    run = make_run(tmp_path / "run", task="classifier", evaluation=evaluation)
    assert "on the validation images, after step 10" in read(write_report(run)).texts


def test_a_picture_with_text_in_it_has_a_row_of_its_own(tmp_path: Path):
    run = make_run(tmp_path / "run", task="classifier")
    (run / "samples").mkdir()
    for name, width in (("mistakes", 944), ("examples", 466)):
        Image.new("RGB", (width, 8)).save(run / "samples" / f"step-000010-{name}.png")
    page = read(write_report(run))
    assert [figure.get("class") for figure in page.all("figure")] == ["wide", None]


# Anything at all


BITS = {"step": 1, "metrics": {"test": {"bits/dim": 9.0}}}
_KEYS = (
    *("splits", "train", "validation", "test", "count", "classes", "names", "reasons", "what"),
    *("value", "why", "skipped", "name", "preparation", "shape", "levels", "fingerprint"),
    *("step", "metrics", "accuracy", "bits/dim", "KL", "active units", "versions", "started"),
    *("device", "steps", "batch_size", "clip", "model", "latent_dim", "preset", "time", "task"),
)
_atoms = (
    st.none() | st.booleans() | st.integers(-9, 9999) | st.floats() | st.text("ab<é", max_size=3)
)
_names = st.sampled_from(_KEYS) | st.text("ab<é", max_size=3)
_anything = st.recursive(
    _atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=6)
)
_objects = st.dictionaries(_names, _anything, max_size=6)


@settings(max_examples=30, deadline=None)
@given(
    task=st.sampled_from(["vae", "classifier", "diffusion", "new"]),
    config=_objects,
    data=_objects | _anything,
    starts=st.lists(_objects, max_size=2) | _anything,
    evaluation=st.fixed_dictionaries({"step": st.integers(0, 9), "metrics": _objects}) | _anything,
)
@example("vae", {"steps": "many", "model": 3, "batch_size": []}, {"splits": []}, [3], {"step": "x"})
@example("vae", {"preset": ["literal"]}, {"preparation": {"levels": -1, "shape": []}}, {}, BITS)
@example("vae", {"clip": "no"}, {"preparation": {"levels": "many"}}, {}, BITS)
def test_whatever_the_files_hold_there_is_a_page(
    task: str, config: dict[str, Any], data: Any, starts: Any, evaluation: Any
):
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(
            Path(folder) / "run",
            task=task,
            config=config,
            data=data,
            starts=starts,
            evaluation=evaluation,
        )
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "task": task}), "utf-8")
        assert_self_contained(read(write_report(run)))
        other = make_run(Path(folder) / "other", task=task)
        page = write_comparison([read_run(run), read_run(other)], Path(folder) / "page.html")
        assert_self_contained(read(page))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([1, 28, 28], "28×28, gray"),
        ([3, 28, 20], "28×20, color"),
        ([1, 50], "50, 1 channel"),
        ([3, 8, 8, 8], "8×8×8, 3 channels"),
    ],
)
def test_only_images_have_colors(run: Path, shape: list[int], words: str):
    data = json.loads((run / "data.json").read_text())
    data["preparation"]["shape"] = shape
    (run / "data.json").write_text(json.dumps(data))
    assert words in read(write_report(run)).texts
