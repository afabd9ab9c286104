"""``visarch bench``: what it lists, refuses, prints and keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from visarch.bench import BENCHMARKS, Entry, harness, measure, sample
from visarch.bench.harness import Contender, Race, Work
from visarch.bench.peers import labml
from visarch.cli import main


@dataclass(frozen=True)
class Two:
    """A benchmark that takes no time: one thing beside the same thing."""

    packages: ClassVar = ()  # so that all is in one process
    answers: ClassVar = {"the one": 1.0, "the other": 1.0}

    def races(self):
        def make(name: str) -> Work:
            return Work(lambda: torch.ones(1), lambda: torch.tensor([self.answers[name]]))

        ours = Contender("the one", partial(make, "the one"))
        peer = Contender(
            "the other", partial(make, "the other"), "just the same", tolerance=0.0, bar=1e-9
        )
        yield Race(f"{torch.get_num_threads()} threads", ours, (peer,))


@pytest.fixture(autouse=True)
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is measured at once, in place of everything that takes its time."""
    monkeypatch.setitem(BENCHMARKS, "two", Entry("one thing beside itself", f"{__name__}:Two"))
    monkeypatch.setattr(
        "visarch.cli.bench.import_module",
        lambda name: _Here if name == __name__ else import_module(name),
    )
    monkeypatch.setattr(harness, "TURN", 0.0)


class _Here:
    Two = Two


def test_the_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHMARKS)
    assert all(
        entry.summary in line for entry, line in zip(BENCHMARKS.values(), lines, strict=True)
    )


def test_the_names_are_those_that_were_promised():
    promised = "unet-train unet-infer resnet-train resnet-infer vae-train vae-nll sample"
    assert {*promised.split(), "trainer-overhead", "startup"} <= BENCHMARKS.keys()


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "two", "--rounds", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (race,) = found["races"]
    assert found["benchmark"] == "two"
    assert len(race["ours"]["turns"]) == len(race["peers"][0]["turns"]) == 7
    assert race["agreements"] == [{"what": "the other", "difference": 0.0, "tolerance": 0.0}]


def test_people_get_a_table_with_hardware_and_versions(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "two", "--rounds", "6"]) == 0
    text = capsys.readouterr().out
    for expected in (
        "the one",
        "the other",
        "just the same",
        "ours against ours",
        "numpy ",
        "cores",
    ):
        assert expected in text


def test_threads_are_set_for_all(capsys: pytest.CaptureFixture[str]):
    before = torch.get_num_threads()
    try:
        assert main(["bench", "two", "--rounds", "1", "--threads", "2"]) == 0
        assert "2 threads" in capsys.readouterr().out
    finally:
        torch.set_num_threads(before)


def test_kept_results_become_the_table_of_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["bench", "two", "--rounds", "6", "--json"]) == 0
    file = tmp_path / "two.json"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["bench", "--table", str(file), str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("(")[0] for line in lines[2:4]] == ["| `two` ", "| `two` "]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "`visarch bench` needs to know what to measure:"),
        (["unet-trian"], "there is no benchmark 'unet-trian'. Nearest: unet-train"),
        (["two", "--rounds", "0"], "--rounds is 0; it must be above 0."),
        (["two", "--seconds", "-1"], "--seconds is -1.0; it must be above 0."),
        (["two", "--run", "x"], "--run, --features and --samples are for `visarch bench sample`"),
        (["two", "--list"], "--list and --table measure nothing: leave them out, or two."),
        (["--table", "{folder}/none.json"], "none.json"),
        (["--table", "{folder}/text.json"], "text.json: that is no JSON"),
        (["--table", "{folder}/list.json"], "list.json: that is no result of a benchmark"),
    ],
)
def test_what_cannot_be_measured_is_said(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "text.json").write_text("nothing")
    (tmp_path / "list.json").write_text("[]")
    assert main(["bench", *(argument.format(folder=tmp_path) for argument in arguments)]) == 2
    assert expected in capsys.readouterr().err


def test_a_missing_peer_is_one_paragraph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Two, "packages", ("no-such-peer",))
    assert main(["bench", "two"]) == 2
    message = capsys.readouterr().err
    assert "beside no-such-peer, which is not installed: pip install 'visarch[bench]'" in message
    assert message.count("\n") == 1


def test_what_differs_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(Two.answers, "the other", 2.0)
    assert main(["bench", "two"]) == 2
    assert "the other: the outputs differ by 0.5 of their size" in capsys.readouterr().err


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """labml.ai's sampler with five steps in place of a thousand, and enough images to compare."""
    pytest.importorskip("labml_nn")
    monkeypatch.setattr(labml, "NUM_STEPS", 5)
    monkeypatch.setattr(sample, "held_out", lambda data: data.splits["train"])
    monkeypatch.setattr(measure, "apart", lambda benchmark: benchmark.races())


def test_a_trained_run_is_compared_by_what_it_draws(
    few_steps, painter, shades, monkeypatch: pytest.MonkeyPatch, visarch
):
    monkeypatch.setattr(sample, "_MARGIN", 1e9)
    flags = f"--run {painter.path} --features {shades.path} --samples 12 --rounds 1 --json"
    output, _ = visarch(f"bench sample {flags}")
    (race,) = json.loads(output)["races"]
    (agreement,) = race["agreements"]
    assert agreement["what"].startswith("FD of 12 images each in the features of run: ")
    assert race["peers"][0]["repeats"] == 5
    assert str(painter.path) in race["ours"]["note"]


def test_few_steps_that_draw_worse_are_not_timed(
    few_steps, painter, shades, monkeypatch: pytest.MonkeyPatch, refused
):
    monkeypatch.setattr(sample, "_MARGIN", -1.0)
    message = refused(f"bench sample --run {painter.path} --features {shades.path} --samples 12")
    assert "Few steps are not as good as many with this network" in message


def test_too_few_images_are_known_before_any_are_drawn(painter, shades, refused):
    message = refused(f"bench sample --run {painter.path} --features {shades.path} --samples 12")
    assert "--samples 12 are compared with the 8 validation images" in message


def test_quality_takes_a_run_and_a_classifier(refused):
    assert "--run and --features go together" in refused("bench sample --run x")


def test_nothing_slow_is_imported_for_the_list():
    code = (
        "import sys; from visarch.cli import main; main(['bench', '--list']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
