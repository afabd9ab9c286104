"""The page that puts runs side by side: whole, self-contained, and the same every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visarch.report import write_comparison
from visarch.report.run import read_run

from .pages import HOSTILE, Page, assert_self_contained, make_run, read

METRICS = (
    "step,loss,images_per_second,validation/accuracy\n10,2,640,\n20,1.5,640,0.5\n30,1,640,0.7\n"
)
DATA = {
    "fingerprint": "abc",
    "splits": {"train": {"count": 200}, "validation": {"count": 100}, "test": {"count": 100}},
}


def classifier(path: Path, accuracy: float, **pieces: Any) -> Path:
    measured = {"validation": {"accuracy": accuracy}, "test": {"accuracy": accuracy - 0.1}}
    given = {
        "config": {"batch_size": 64},
        "metrics": METRICS,
        "data": DATA,
        "evaluation": {"step": 30, "metrics": measured},
        "starts": [{"device": "cpu", "processor": "a fast one", "versions": {"torch": "2.13.0"}}],
    }
    run = make_run(path, task="classifier", **given | pieces)
    (run / "samples").mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(run / "samples" / "step-000030-confusion.png")
    return run


def page_of(*runs: Path, unreadable: tuple[str, ...] = ()) -> Page:
    page = read(
        write_comparison([read_run(run) for run in runs], runs[0].parent / "p.html", unreadable)
    )
    assert_self_contained(page)
    return page


def test_runs_of_a_task_share_tables_charts_and_rows_of_pictures(tmp_path: Path):
    runs = [
        classifier(tmp_path / "one", 0.9),
        classifier(tmp_path / "two", 0.8, config={"batch_size": 64, "learning_rate": 0.3}),
    ]
    page = page_of(*runs)
    assert "2 runs side by side" in page.texts
    assert page.texts.count("★ 90.00 %") == 2  # in the overview, and in the table of its split
    assert page.texts.count("★ 80.00 %") == 2
    assert page.texts.count("82.6–94.5") == 2  # Wilson's interval of 90 in 100
    assert page.texts[page.texts.index("learning_rate") + 1 :][:2] == ["not there", "0.3"]
    assert "batch_size" not in page.texts
    assert "None." in page.texts  # the environments are the same
    assert len(page.all("svg")) == 4  # accuracy twice, loss, speed
    assert len(page.all("img")) == 2
    assert page.texts.count("Confusion matrix") == 1


def test_tasks_have_sections_of_their_own(tmp_path: Path):
    page = page_of(
        classifier(tmp_path / "c", 0.9),
        make_run(tmp_path / "v", task="vae"),
        classifier(tmp_path / "d", 0.8),
        make_run(tmp_path / "n", task="something new"),
    )
    assert page.headings() == ["task-0", "task-1", "task-2"]
    links = [link["href"] for link in page.all("a")]
    assert links == ["#task-0", "#task-1", "#task-2"]
    headings = ["Classifier", "Gaussian VAE", "something new"]
    assert [text.strip() for text in page.texts if text.strip() in headings] == 2 * headings


def test_a_run_that_is_not_finished_is_shown_as_such(tmp_path: Path):
    runs = [
        classifier(tmp_path / "done", 0.6),
        classifier(tmp_path / "going", 0.0, config={"steps": 100}, evaluation={}),
        classifier(tmp_path / "open", 0.0, config={}, evaluation={}),
    ]
    page = page_of(*runs)
    assert [span.get("class") for span in page.all("span")].count("badge open") == 2
    assert "30 of 100" in page.texts
    assert "30, not finished" in page.texts
    assert "★ 70.00 %" in page.texts  # as it was on the way


def test_nothing_is_best_where_images_are_not_the_same(tmp_path: Path):
    runs = [
        classifier(tmp_path / "one", 0.9),
        classifier(tmp_path / "two", 0.8, data=DATA | {"fingerprint": "def"}),
    ]
    page = page_of(*runs)
    assert "★" not in page.text
    assert page.text.count("not measured on the same images") == 2


def test_what_is_broken_is_said_and_the_rest_is_shown(tmp_path: Path):
    whole, broken = (classifier(tmp_path / name, 0.9) for name in ("whole", "broken"))
    (broken / "evaluation.json").write_text("{")
    (broken / "samples" / "step-000030-confusion.png").write_bytes(b"no picture")
    page = page_of(whole, broken, unreadable=("third/config.yaml cannot be read as YAML: x.",))
    alarms = [a["class"] for a in page.all("p") if str(a.get("class")).startswith("alarm")]
    assert alarms == ["alarm", "alarm mild", "alarm mild"]
    assert "third/config.yaml cannot be read as YAML" in page.text
    assert f"{broken}: evaluation.json cannot be read" in page.text
    assert f"{broken}: samples/step-000030-confusion.png cannot be read" in page.text
    assert len(page.all("img")) == 1


def test_the_same_folders_make_the_same_page(tmp_path: Path):
    runs = [classifier(tmp_path / name, 0.9) for name in ("one", "two")]
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    pages = [
        write_comparison([*map(read_run, order)], tmp_path / "page.html").read_bytes()
        for order in (runs, runs, runs[::-1])
    ]
    assert pages[0] == pages[1] != pages[2]
    (tmp_path / "page.html").unlink()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_hostile_names_stay_text(tmp_path: Path):
    name = HOSTILE.replace("/", "⁄")
    runs = [
        make_run(
            tmp_path / f"{name}{number}",
            task=HOSTILE,
            config={HOSTILE: number, "model": {HOSTILE: HOSTILE}},
            metrics=f'step,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n1,2\n2,3\n',
            evaluation={"step": 2, "metrics": {HOSTILE: {HOSTILE: float(number)}}},
            data={"reasons": [{"what": HOSTILE, "value": str(number), "why": ""}]},
            starts=[{"device": HOSTILE + str(number)}],
        )
        for number in range(2)
    ]
    for run in runs:
        (run / "samples").mkdir()
        Image.new("RGB", (8, 8)).save(run / "samples" / f"step-000002-{name}.png")
    page = page_of(*runs)
    assert page.text.count("<script>alert('x')</script> & \">") == 9
    assert {str(image["src"])[:15] for image in page.all("img")} == {"data:image/png;"}


def test_pictures_of_many_runs_are_smaller_copies(tmp_path: Path):
    run = classifier(tmp_path / "one", 0.9)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(run / "samples" / "step-000030-examples.png")
    sources = [str(image["src"])[:15] for image in page_of(run).all("img")]
    assert sources == ["data:image/png;", "data:image/jpeg"]


@pytest.mark.parametrize("count", [1, 30])
def test_any_number_of_runs_has_a_page(tmp_path: Path, count: int):
    runs = [make_run(tmp_path / str(n), config={"seed": n}) for n in range(count)]
    page = page_of(*runs)
    assert ("Settings that differ" in page.texts) == (count > 1)
    assert f"{count} runs side by side" in page.texts or count == 1
