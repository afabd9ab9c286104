"""``visarch interpolate`` with a diffusion model: through its noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import to_unit
from visarch.inference.diffusion import sample
from visarch.inference.recipe import Condition, recipe_of
from visarch.models.unet import Denoiser
from visarch.pictures import tile
from visarch.run import Run, load_run

STEPS = 20


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than usual will do for a network that has learned next to nothing."""
    for module in ("inference.noise_space", "cli.interpolate_diffusion"):
        monkeypatch.setattr(f"visarch.{module}.INVERSION_STEPS", STEPS)


def tiles(path: Path, size: tuple[int, int], gaps: tuple[int, ...]) -> list[np.ndarray]:
    """The tiles of a row, given the pixels that stand before each."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    found, left = [], 0
    for gap in gaps:
        left += gap
        found.append(pixels[2 : 2 + size[1], left : left + size[0]])
        left += size[0]
    assert left + 2 == pixels.shape[1]
    return found


def run_of(path: Path) -> Run[Denoiser]:
    return load_run(str(path)).of(Denoiser)


def test_from_one_image_to_another_of_their_classes(painter, visarch, tmp_path: Path):
    output, _ = visarch(f"interpolate {painter.path} 2 0 --steps 4 --out {tmp_path / 'a.png'}")
    run = run_of(painter.path)
    own = run.held_out(run.open_data()).take("ends", [2, 0])
    assert own.labels is not None
    assert run.classes is not None
    names = [run.classes[label] for label in own.labels.tolist()]
    assert output.startswith(
        f"4 steps from {own.names[0]} to {own.names[1]} by ddim in {STEPS} steps"
    )
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["label"] == " to ".join(names)
        assert picture.text["guidance"] == "0"
    first, *way, last = tiles(tmp_path / "a.png", (84, 60), (2, 8, 2, 2, 2, 8))
    originals = [np.asarray(tile(image)) for image in to_unit(own.images, 256)]
    assert np.array_equal(first, originals[0])
    assert np.array_equal(last, originals[1])
    for end, original in ((way[0], originals[0]), (way[-1], originals[1])):
        assert np.abs(end.astype(int) - original).mean() < 5
    assert np.abs(way[1].astype(int) - originals[0]).mean() > 10


def test_from_one_seed_to_another(painter, visarch, tmp_path: Path):
    visarch(
        f"interpolate {painter.path} seed:3 seed:7 --label red blue --steps 3 "
        f"--out {tmp_path / 'a.png'}"
    )
    run = run_of(painter.path)
    assert run.classes is not None
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["from"] == "seed:3"
        assert picture.text["label"] == "red to blue"
    way = tiles(tmp_path / "a.png", (84, 60), (2, 2, 2))
    for shown, seed, label in ((way[0], 3, "red"), (way[-1], 7, "blue")):
        condition = Condition(torch.tensor([run.classes.index(label)]))
        recipe, shape = recipe_of(run), run.preparation.shape
        (image,) = sample(run.model, recipe, shape, [0], seed, condition).images
        assert np.abs(shown.astype(int) - np.asarray(tile(image))).max() <= 1


def test_both_ends_of_a_way_between_seeds_are_asked_to_be_the_same(painter, visarch, tmp_path):
    output, _ = visarch(f"interpolate {painter.path} seed:3 seed:7 --out {tmp_path}")
    run = run_of(painter.path)
    assert run.classes is not None
    assert f"label {run.classes[0]} to {run.classes[0]}" in output
    assert (tmp_path / "interpolation-seed-3-seed-7.png").exists()


def test_files_are_of_no_class_unless_one_is_given(painter, visarch, tmp_path: Path):
    files = f"{painter.data}/red/0.png {painter.data}/blue/2.png"
    output, _ = visarch(f"interpolate {painter.path} {files} --steps 2 --out {tmp_path}")
    assert "label none to none" in output
    output, _ = visarch(
        f"interpolate {painter.path} {files} --label red --out {tmp_path / 'a.png'}"
    )
    assert "label red to red" in output


@pytest.mark.parametrize("kind", ["radio", "sculptor", "pointer"])
def test_what_is_no_image_or_has_a_vector(kind: str, request, visarch, tmp_path: Path):
    trained = request.getfixturevalue(kind)
    output, _ = visarch(f"interpolate {trained.path} 1 2 --steps 3 --out {tmp_path / 'a.png'}")
    assert ("a.npz" in output) == (kind != "pointer")


@pytest.mark.parametrize(
    ("kind", "ends", "answer"),
    [
        ("painter", "seed:3 1", "from seed to seed or from image to image"),
        ("painter", "1 99", "There is no image 99"),
        ("painter", "1 2 --vector 3", "was trained without context vectors"),
        ("pointer", "1 2 --vector inf 1", "not all of these are finite"),
        ("painter", "1 2 --label gren", "nearest: green"),
        ("painter", "1 2 --label red green blue", "--label has 3 classes"),
        ("sculptor", "seed:1 seed:2 --label 0", "takes none"),
        ("digits", "1 2 --label 3", "--label 3 is for diffusion runs"),
        ("digits", "seed:1 seed:2", "There is no 'seed:1'"),
        ("shades", "1 2", "holds a ResNet"),
    ],
)
def test_ways_that_there_are_not(kind: str, ends: str, answer: str, request, refused):
    trained = request.getfixturevalue(kind)
    assert answer in refused(f"interpolate {trained.path} {ends}")
