"""``visarch evaluate`` of a classifier: the numbers of the training, tables and pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from visarch import ResNet, ResNetConfig


@pytest.fixture
def numbers(visarch):
    """Type an evaluation; gives what it says as JSON."""

    def run(command: str) -> dict:
        output, _ = visarch(f"evaluate {command} --json")
        return json.loads(output)

    return run


@pytest.fixture
def confused(shades, tmp_path: Path):
    """A copy of the run that takes every image for green."""
    run = tmp_path / "confused"
    shutil.copytree(shades.path, run)
    model = ResNet.from_pretrained(run / "model")
    with torch.no_grad():
        model.classifier.bias[1] += 20
    model.save_pretrained(run / "model")
    return run


def test_the_numbers_are_those_of_the_end_of_training(shades, numbers):
    then = json.loads((shades.path / "evaluation.json").read_text())["metrics"]
    told = numbers(f"{shades.path}")
    assert told["split"] == "validation"
    assert told["metrics"] == pytest.approx(then["validation"])
    assert told["metrics"]["accuracy"] > 0.8
    assert told["trained_on_this_data"]
    low, high = told["intervals"]["accuracy"]
    assert low < told["metrics"]["accuracy"] <= high


def test_the_table_of_classes_and_the_pictures(confused: Path, shades, visarch, numbers):
    output, _ = visarch(f"evaluate {confused} --split train")
    told = numbers(f"{confused} --split train")
    by_class = {row["class"]: row for row in told["classes"]}
    assert list(by_class) == ["blue", "green", "red"]
    assert (by_class["green"]["recall"], by_class["red"]["recall"]) == (1, 0)
    assert by_class["red"]["precision"] is None
    assert sum(map(sum, told["confusion"])) == told["images"]
    assert all(row[0] == row[2] == 0 for row in told["confusion"])
    assert "100.0%" in output
    assert f"green ({by_class['red']['images']})" in output
    assert len(told["mistakes"]) == 40
    assert {m["read as"] for m in told["mistakes"]} == {"green"}
    assert "→ green" in output
    pictures = {Path(file).name: Path(file) for file in told["files"]}
    assert set(pictures) == {"confusion-train.png", "reliability-train.png", "mistakes-train.png"}
    for path in pictures.values():
        assert str(path) in output
        with Image.open(path) as picture:
            assert picture.info["Split"] == "train"


def test_mirror_images_may_have_a_say(shades, numbers, refused, digits):
    plain, mirrored = (numbers(f"{shades.path} {flag}") for flag in ("", "--mirrored"))
    assert plain["metrics"]["NLL"] != mirrored["metrics"]["NLL"]
    assert (plain["mirrored"], mirrored["mirrored"]) == (False, True)
    assert "--mirrored is for classifier runs" in refused(f"evaluate {digits.path} --mirrored")


def test_other_data_keeps_the_numbers_of_the_classes(shades, numbers, tmp_path: Path):
    """A folder without one of the classes, and with one that the model does not know."""
    for name in ("green", "red"):
        shutil.copytree(Path(shades.data) / name, tmp_path / "other" / name)
    shutil.copytree(Path(shades.data) / "red", tmp_path / "other" / "violet")
    whole = numbers(f"{shades.path} --split all")
    part = numbers(f"{shades.path} --data {tmp_path / 'other'} --split all")
    assert part["confusion"] == [[0, 0, 0], *whole["confusion"][1:]]
    assert part["classes"][0]["recall"] is None
    assert part["classes"][1]["recall"] == whole["classes"][1]["recall"]
    assert len(part["skipped"]) == 30
    assert any("not what the run was trained on" in remark for remark in part["remarks"])


def test_what_is_refused(shades, refused, tmp_path: Path):
    answer = refused(f"evaluate {shades.path} --data digits")
    assert "'digits' is of one of the classes blue, green, red; theirs: 0, 1, 2" in answer
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(3):
        Image.new("RGB", (14, 10)).save(plain / f"{number}.png")
    assert "no labels" in refused(f"evaluate {shades.path} --data {plain}")
    bare = tmp_path / "bare"
    shutil.copytree(shades.path / "model", bare)
    ResNet(ResNetConfig(depths=(1,), widths=(4,))).save_pretrained(bare)
    assert "without a last layer" in refused(f"evaluate {bare} --data {shades.data}")
