"""``visarch push``: a run goes to the hub, and what comes back from there is the run's model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from visarch import publishing
from visarch.run import load_run

from ..test_publishing import Hub

FILES = ["config.json", "model.safetensors", "task.json", "evaluation.json", "README.md"]


@pytest.fixture
def hub(monkeypatch) -> Hub:
    played = Hub()
    monkeypatch.setattr(publishing, "HfApi", lambda **_: played)
    return played


def test_a_run_goes_there_with_its_card_and_evaluation(shades, hub, visarch, tmp_path: Path):
    output, _ = visarch(f"push {shades.path} jane/shades --message Mine")
    ((name, files, message),) = hub.commits
    assert (name, message, hub.private) == ("jane/shades", "Mine", {"jane/shades": True})
    assert sorted(files) == sorted(FILES)
    for file, content in files.items():
        assert f"{file}: {len(content):,} bytes" in output
        (tmp_path / file).write_bytes(content)
    theirs, ours = load_run(str(tmp_path)), load_run(str(shades.path))
    assert theirs.classes == ours.classes
    assert theirs.preparation == ours.preparation

    card = files["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["library_name"] == "visarch"
    assert head["pipeline_tag"] == "image-classification"
    accuracy = head["model-index"][0]["results"][0]["metrics"][0]
    assert accuracy["type"] == "accuracy"
    assert accuracy["value"] > 0.5
    assert 'visarch.load("jane/shades")' in card
    assert "visarch predict jane/shades" in card
    assert "visarch train classifier --data" in card
    assert "3 classes: blue, green, red" in card
    assert "level k of 256" in card


def test_a_finished_run_has_its_card_already(shades, painter):
    card = (shades.path / "model" / "README.md").read_text()
    assert "| Accuracy |" in card
    assert f"--out {shades.path}" not in card
    card = (painter.path / "model" / "README.md").read_text()
    assert "2x − 1" in card
    assert "visarch sample" in card


def test_nothing_happens_in_a_dry_run(shades, hub, visarch):
    output, _ = visarch(f"push {shades.path} jane/shades --dry-run")
    assert output.count(" bytes") == len(FILES)
    assert hub.commits == []
    assert hub.private == {}


def test_what_is_refused(shades, hub, refused, tmp_path: Path):
    assert "OWNER/NAME" in refused(f"push {shades.path} shades")
    assert "no run folder or model folder" in refused(f"push {tmp_path}/none jane/shades")
    (tmp_path / "config.yaml").write_text("task: vae\n")
    assert "has not written its model yet" in refused(f"push {tmp_path} jane/shades")
    assert hub.commits == []
