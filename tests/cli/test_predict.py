"""``visarch predict``: the classes of images, as the model knows them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import to_unit
from visarch.run import load_run


@pytest.fixture
def predicted(visarch):
    """Type a prediction; gives what it says as JSON."""

    def run(command: str) -> list[dict]:
        output, _ = visarch(f"predict {command} --json")
        return json.loads(output)

    return run


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A red image, in a folder that is called after another class."""
    path = tmp_path / "green" / "a.png"
    path.parent.mkdir()
    pixels = np.random.default_rng(5).integers(0, 150, (10, 14, 3), dtype=np.uint8)
    pixels[..., 0] += 60
    Image.fromarray(pixels).save(path)
    return path


def test_probabilities_are_those_of_the_model(shades, predicted):
    told = predicted(f"{shades.path} {shades.data}")
    run = load_run(str(shades.path))
    splits = run.open_data().splits.values()
    images = torch.cat([split.images for split in splits])
    with torch.no_grad():
        expected = run.model(to_unit(images, 256)).softmax(1)
    assert [row["name"] for row in told] == [name for split in splits for name in split.names]
    assert run.classes == ("blue", "green", "red")
    for row, probabilities in zip(told, expected.tolist(), strict=True):
        found = {p["class"]: p["probability"] for p in row["predictions"]}
        assert found == pytest.approx(dict(zip(run.classes, probabilities, strict=True)), rel=1e-3)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_images_of_its_own_that_it_was_not_trained_on_by_default(shades, predicted):
    described = json.loads((shades.path / "data.json").read_text())
    names = [row["name"] for row in predicted(f"{shades.path}")]
    assert names == described["splits"]["validation"]["names"]


def test_the_folder_of_an_image_says_nothing(shades, predicted, red: Path):
    (alone,) = predicted(f"{shades.path} {red}")
    (in_folder,) = predicted(f"{shades.path} {red.parent.parent}")
    assert alone["predictions"] == in_folder["predictions"]
    assert alone["predictions"][0]["class"] == "red"


def test_how_many_classes_are_told(shades, predicted, red: Path):
    for top, count in ((1, 1), (2, 2), (9, 3)):
        (row,) = predicted(f"{shades.path} {red} --top {top}")
        assert len(row["predictions"]) == count


def test_mirror_images_may_have_a_say(shades, predicted, red: Path, tmp_path: Path):
    with Image.open(red) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    both = predicted(f"{shades.path} {red} {tmp_path / 'b.png'} --mirrored")
    one, other = ({p["class"]: p["probability"] for p in row["predictions"]} for row in both)
    assert one == pytest.approx(other, rel=1e-4)


def test_a_table_and_a_file(shades, visarch, predicted, tmp_path: Path):
    told = predicted(f"{shades.path}")
    output, notes = visarch(f"predict {shades.path} --out {tmp_path / 'p.csv'}")
    assert str(tmp_path / "p.csv") in notes
    for row in told:
        first, second, _ = row["predictions"]
        (line,) = (line for line in output.splitlines() if f" {row['name']} " in line)
        assert f"{first['probability']:.1%}" in line
        assert f"{second['class']} {second['probability']:.1%}" in line
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0][:3] == ["file", "class 1", "probability 1"]
    for row, cells in zip(told, rows[1:], strict=True):
        assert cells[0] == row["name"]
        assert cells[1::2] == [p["class"] for p in row["predictions"]]
        shares = [p["probability"] for p in row["predictions"]]
        assert list(map(float, cells[2::2])) == pytest.approx(shares, rel=1e-4)


def test_a_model_folder_keeps_its_classes(shades, predicted, red: Path, tmp_path: Path):
    shutil.copytree(shades.path / "model", tmp_path / "alone")
    assert predicted(f"{tmp_path / 'alone'} {red}") == predicted(f"{shades.path} {red}")


def test_what_is_refused(shades, digits, refused, red: Path):
    assert "--top is 0" in refused(f"predict {shades.path} {red} --top 0")
    assert "ResNet (classifier)" in refused(f"predict {digits.path} {red}")
    assert "p.txt" in refused(f"predict {shades.path} {red} --out {red.parent / 'p.txt'}")
