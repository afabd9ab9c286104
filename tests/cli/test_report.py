"""``visarch report``: one run's page, several side by side, and what is no run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Visarch = Callable[[str], tuple[str, str]]
Refused = Callable[[str], str]


@pytest.fixture
def runs(digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with runs/0001 and runs/0002, which has better numbers."""
    for name in ("0001", "0002"):
        shutil.copytree(digits.path, tmp_path / "runs" / name)
    better = tmp_path / "runs" / "0002"
    evaluation = json.loads((better / "evaluation.json").read_text())
    evaluation["metrics"]["test"]["bits/dim"] = 1.5
    (better / "evaluation.json").write_text(json.dumps(evaluation))
    config = (better / "config.yaml").read_text()
    (better / "config.yaml").write_text(config.replace("seed: 5", "seed: 6"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pages(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.html")}


def test_one_run_gets_its_report_anew(runs: Path, visarch: Visarch):
    report = runs / "runs" / "0001" / "report.html"
    report.write_text("old")
    output, notes = visarch("report runs/0001")
    assert "1.5" not in output
    assert output.endswith("Report: runs/0001/report.html\n")
    assert "<h1>0001</h1>" in report.read_text("utf-8")
    assert notes == ""
    assert pages(runs) == {"runs/0001/report.html", "runs/0002/report.html"}


def test_several_runs_are_put_side_by_side_here(runs: Path, visarch: Visarch):
    before = (runs / "runs" / "0001" / "report.html").read_bytes()
    output, _ = visarch("report runs/0001 runs/0002")
    first, second = (
        next(line for line in output.splitlines() if n in line) for n in ("0001", "0002")
    )
    assert "★ 1.500" in second
    assert first.count("★") == 0  # on the validation images they are equal
    assert output.endswith("Comparison: runs-compared.html\n")
    text = (runs / "runs-compared.html").read_text("utf-8")
    assert "2 runs side by side" in text
    assert text.count("★ 1.500") == 2
    assert (runs / "runs" / "0001" / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("out", "page"),
    [
        ("pages/mine.html", "pages/mine.html"),
        ("pages", "pages/runs-compared.html"),
        ("new/folder", "new/folder/runs-compared.html"),
    ],
)
def test_out_is_the_page_or_its_folder(runs: Path, visarch: Visarch, out: str, page: str):
    (runs / "pages").mkdir()
    output, _ = visarch(f"report runs/0001 runs/0002 --out {out}")
    assert output.endswith(f"Comparison: {page}\n")
    assert (runs / page).exists()


def test_one_run_can_have_its_report_elsewhere(runs: Path, visarch: Visarch):
    visarch("report runs/0001 --out mine.html")
    assert "<h1>0001</h1>" in (runs / "mine.html").read_text("utf-8")


def test_out_of_another_kind_is_refused(runs: Path, refused: Refused):
    assert "does not end in .html" in refused("report runs/0001 --out report.pdf")


def test_what_a_glob_finds_beside_runs_is_left_out(runs: Path, visarch: Visarch):
    (runs / "runs" / "notes.txt").write_text("not a run")
    (runs / "runs" / "empty").mkdir()
    names = " ".join(f"runs/{path.name}" for path in sorted((runs / "runs").iterdir()))
    _, notes = visarch(f"report {names}")
    assert notes.splitlines() == [
        "runs/empty is not a run folder (it has no config.yaml): left out.",
        "runs/notes.txt is not a run folder (it has no config.yaml): left out.",
    ]
    assert "2 runs side by side" in (runs / "runs-compared.html").read_text("utf-8")


def test_a_run_that_is_named_twice_is_one_run(runs: Path, visarch: Visarch):
    output, _ = visarch(f"report runs/0001 runs/0001/ {runs / 'runs' / '0001'}")
    assert output.endswith("Report: runs/0001/report.html\n")


def test_a_run_whose_settings_are_broken_is_said_on_the_page(runs: Path, visarch: Visarch):
    (runs / "runs" / "0002" / "config.yaml").write_text("task: [")
    _, notes = visarch("report runs/0001 runs/0002")
    said = "runs/0002/config.yaml cannot be read as YAML"
    assert said in notes
    assert said in (runs / "runs-compared.html").read_text("utf-8")


def test_numbers_as_json(runs: Path, visarch: Visarch):
    (runs / "runs" / "empty").mkdir()
    output, _ = visarch("report runs/0001 runs/0002 runs/empty --json")
    record = json.loads(output)
    assert record["page"] == "runs-compared.html"
    first, second = record["runs"]
    assert (first["run"], second["run"]) == ("runs/0001", "runs/0002")
    assert second["metrics"]["test"]["bits/dim"] == 1.5
    assert second["best"]["test"] == ["bits/dim"]
    assert first["finished"]
    assert first["step"] == first["total_steps"] == 30
    assert first["parameters"] > 1000
    assert record["differences"]["vae"]["seed"] == {"0001": "5", "0002": "6"}
    assert len(record["left_out"]) == 1
    assert record["unreadable"] == []


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("", "Say which runs to report on, as in `visarch report runs/*`"),
        ("runs/9999", "There is no runs/9999"),
        ("runs/0001 runs/9999", "There is no runs/9999"),
        ("empty", "empty is not a run folder (it has no config.yaml)"),
        ("empty file.txt", "file.txt is not a run folder"),
        ("runs", "runs is not a run folder, but has 2 inside (give `runs/*`)"),
        ("broken", "broken/config.yaml cannot be read as YAML"),
    ],
)
def test_what_is_no_run_is_refused(runs: Path, refused: Refused, arguments: str, answer: str):
    (runs / "empty").mkdir()
    (runs / "file.txt").write_text("")
    (runs / "broken").mkdir()
    (runs / "broken" / "config.yaml").write_text("task: [")
    before = pages(runs)
    assert answer in refused(f"report {arguments}")
    assert pages(runs) == before


def test_a_page_that_cannot_be_written_is_a_paragraph(
    runs: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    assert "runs-compared.html could not be written" in refused("report runs/0001 runs/0002")
    assert not (runs / "runs-compared.html").exists()
