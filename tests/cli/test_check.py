"""``visarch check``: exit code, tables, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "photos" / f"class {number}" / "1.png"
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def test_good_data(visarch, folder):
    output, _ = visarch(f"check '{folder}'")
    assert f"{folder}: folder, 40 samples" in output
    assert "kinds: 40 PNG RGB" in output
    assert "sizes: 40 of 8×6" in output
    assert "class 0" in output
    assert "and 10 more" in output
    assert output.endswith("Nothing is wrong.\n")


def test_problems_have_an_exit_code_and_are_shown_in_part(folder, capsys):
    for number in range(8):
        (folder / "class 1" / f"bad {number}.png").write_text("no image")
    assert main(["check", str(folder)]) == 1
    output = capsys.readouterr().out
    assert "cannot be used: 8" in output
    assert "class 1/bad 0.png is no image: it holds text" in output
    assert "and 3 more (--json lists all)" in output
    assert "Nothing is wrong" not in output


def test_json_lists_everything(folder, capsys):
    for number in range(8):
        (folder / "class 1" / f"bad {number}.png").write_text("no image")
    assert main(["check", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["count"] == 40
    assert len(told["problems"][0]["entries"]) == 8


def test_what_is_not_there_is_answered(refused):
    assert "There is no 'nowhere'" in refused("check nowhere")
