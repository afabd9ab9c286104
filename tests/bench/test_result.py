"""What is told of a race: the same in JSON, on the terminal and in the documentation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from visarch.bench.harness import Agreement, Contender, Lap, Outcome, Race, Work
from visarch.bench.result import markdown, race_record, record, tables
from visarch.terminal import print_table

OURS = Contender("ours", lambda: Work(lambda: None), "as fast as can be")
PEER = replace(OURS, name="theirs", note="eager", bar=3.0, stretch=5.0)
SCALE = replace(OURS, name="a yardstick", note="")


def outcome(noise: float = 1.0, limit: float | None = None) -> Outcome:
    race = Race("batch 8", OURS, (PEER, SCALE), count=8, limit=limit)
    ours = Lap(OURS, 0.5, 0.25, 1, [2.0] * 6)
    peers = [Lap(PEER, 1.0, 9.0, 1, [8.0] * 6), Lap(SCALE, 0.0, 1.0, 3, [1.0] * 6)]
    agreements = [Agreement("theirs", 1e-6, 1e-4)]
    return Outcome(race, ours, peers, [2.0 * noise] * 6, agreements)


def found(*outcomes: Outcome) -> dict[str, Any]:
    races = [race_record(each) for each in outcomes or [outcome()]]
    return json.loads(json.dumps(record("unet-train", races, ["numpy"]), allow_nan=False))


def told(result: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    for part in tables(result):
        print(part) if isinstance(part, str) else print_table(part)
    return capsys.readouterr().out


def test_the_record_holds_ours_peers_ratios_bars_and_where_it_was():
    result = found()
    (race,) = result["races"]
    peer, scale = race["peers"]
    assert (race["title"], race["count"], race["unit"]) == ("batch 8", 8, "images")
    assert race["ours"]["per_second"] == 4.0
    assert peer["ratio"] == {"median": 4.0, "low": 4.0, "high": 4.0, "confidence": 0.96875}
    assert (peer["bar"], peer["met"], peer["stretch"], peer["stretch_met"]) == (3, True, 5, False)
    assert (scale["bar"], scale["met"]) == (None, None)
    assert (peer["made_seconds"], peer["first_call_seconds"]) == (1.0, 9.0)
    assert race["control"]["quiet"] is True
    assert race["agreements"] == [{"what": "theirs", "difference": 1e-6, "tolerance": 1e-4}]
    assert result["benchmark"] == "unet-train"
    assert {"visarch", "torch", "numpy"} <= result["versions"].keys()
    assert result["threads"] <= result["cores"]
    assert result["processor"]
    assert result["command"].split()[0] == "visarch"  # and not where it lies


def test_a_noisy_machine_decides_nothing(capsys: pytest.CaptureFixture[str]):
    result = found(outcome(noise=1.03))
    (race,) = result["races"]
    assert race["control"]["quiet"] is False
    assert race["peers"][0]["met"] is None
    text = told(result, capsys)
    assert "≥ 3×: too noisy" in text
    assert "the machine is too noisy for these numbers to mean anything" in text
    assert "too noisy" in markdown([result])


def test_the_terminal_says_it_all(capsys: pytest.CaptureFixture[str]):
    text = told(found(), capsys)
    for expected in (
        "batch 8: median of 6 rounds",
        "4× [4, 4]",
        "≥ 3×: met (≥ 5×: missed)",
        "0.5× [0.5, 0.5]",
        "theirs: eager",
        "compared with theirs: they differ by 1e-06 (at most 0.0001 may be)",
        "ours against ours: 1× [1, 1], within 2%: the machine is quiet enough",
        "torch ",
    ):
        assert expected in text
    assert "a yardstick:" not in text  # it has no note


def test_few_rounds_are_told_with_the_confidence_they_have(capsys: pytest.CaptureFixture[str]):
    few = outcome()
    for turns in (few.ours.turns, few.again, *(peer.turns for peer in few.peers)):
        del turns[3:]
    assert "4× [4, 4] at 75%" in told(found(few), capsys)


@pytest.mark.parametrize(("limit", "verdict"), [(2.5, "met"), (1.5, "missed")])
def test_a_limit_has_a_row_of_its_own(capsys: pytest.CaptureFixture[str], limit, verdict):
    result = found(outcome(limit=limit))
    assert f"≤ {limit} s: {verdict}" in told(result, capsys)
    assert rows(markdown([result]))[-1][-2:] == [f"≤ {limit} s", verdict]


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_documentation_has_a_row_for_each_peer_and_says_where_it_was_measured():
    text = markdown([found(), found(outcome(), outcome())])
    first, second, *rest = rows(text)
    assert first[:4] == ["`unet-train` (1)", "batch 8", "4 images/s", "theirs"]
    assert first[4:] == ["1 images/s", "4× [4, 4]", "≥ 3×", "met"]
    assert second[3:] == ["a yardstick", "8 images/s", "0.5× [0.5, 0.5]", "—", "—"]
    assert len(rest) == 4
    assert all(row[0] == "`unet-train` (2)" for row in rest)
    notes = text.partition("\n\n")[2].splitlines()
    assert notes[0].startswith("1. `visarch")
    assert "rounds: 6;" in notes[0]
    assert "rounds: 6, 6;" in notes[1]
    assert all("torch " in note and "cores" in note for note in notes)


def test_no_result_is_no_table_that_breaks():
    assert rows(markdown([])) == []


@pytest.mark.parametrize("machine", ["amd-epyc", "intel-xeon"])
def test_the_documentations_tables_are_those_of_the_results_that_are_kept(machine: str):
    root = Path(__file__).parents[2]
    files = sorted((root / "benchmarks" / "results" / "speed" / machine).glob("*.json"))
    expected = markdown([json.loads(file.read_text("utf-8")) for file in files])
    text = (root / "docs" / "benchmarks.md").read_text("utf-8")
    shown = text.partition(f"<!-- {machine} -->\n")[2].partition("<!-- end -->")[0]
    assert shown == expected
