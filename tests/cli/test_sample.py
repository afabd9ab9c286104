"""``visarch sample``: pictures that belong to a seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import open_data
from visarch.inference.vae import sample
from visarch.outputs import to_values
from visarch.pictures import to_picture
from visarch.run import load_run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_by_default_they_are_those_of_the_end_of_training(trained, visarch):
    output, notes = visarch(f"sample {trained.path}")
    path = trained.path / "outputs/samples-64-seed-5.png"
    assert output.startswith(f"Drawn from seed 5: {path}")
    assert notes == ""
    (drawn,) = (trained.path / "samples").glob("*-samples.png")
    assert np.array_equal(pixels(path), pixels(drawn))


def test_the_seed_is_in_the_picture(digits, visarch, tmp_path: Path):
    visarch(f"sample {digits.path} -n 4 --seed 7 --noise --out {tmp_path / 'a.png'}")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["seed"] == "7"
        assert picture.text["noise"] == "yes"


def test_a_picture_does_not_depend_on_how_many_there_are(colors, visarch, tmp_path: Path):
    for count in (2, 66):
        visarch(f"sample {colors.path} -n {count} --separate --out {tmp_path / f'{count}.png'}")
        assert len(list((tmp_path / str(count)).iterdir())) == count
    for name in ("0000.png", "0001.png"):
        few, many = ((tmp_path / count / name).read_bytes() for count in ("2", "66"))
        assert few == many
    assert len({file.read_bytes() for file in (tmp_path / "66").iterdir()}) == 66
    with Image.open(tmp_path / "66" / "0065.png") as picture:
        assert picture.size == (14, 10)
        assert picture.text["number"] == "65"


def test_separate_pictures_are_the_samples(colors, visarch, tmp_path: Path):
    visarch(f"sample {colors.path} -n 2 --noise --separate --out {tmp_path / 'a.png'}")
    images = sample(load_run(str(colors.path)).model, 2, 5, noise=True)
    assert np.array_equal(pixels(tmp_path / "a" / "0001.png"), np.asarray(to_picture(images[1])))


@pytest.mark.parametrize(("flags", "size"), [("", (3, 2)), ("--columns 5", (5, 1))])
def test_columns(flags: str, size: tuple[int, int], digits, visarch, tmp_path: Path):
    visarch(f"sample {digits.path} -n 5 {flags} --out {tmp_path / 'a.png'}")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == tuple(2 + 58 * tiles for tiles in size)


@pytest.mark.parametrize(("kind", "key"), [("signals", "signals"), ("volumes", "volumes")])
def test_what_is_no_image_is_written_as_numbers(kind, key, request, visarch, tmp_path: Path):
    trained = request.getfixturevalue(kind)
    output, _ = visarch(f"sample {trained.path} -n 20 --noise --out {tmp_path}")
    name = "samples-with-noise-20-seed-5"
    assert {file.name for file in tmp_path.iterdir()} == {f"{name}.png", f"{name}.npz"}
    assert f"{name}.npz" in output
    run = load_run(str(trained.path))
    expected = to_values(sample(run.model, 20, 5, noise=True), run.preparation)
    with np.load(tmp_path / f"{name}.npz") as arrays:
        assert np.array_equal(arrays[key], expected.squeeze(1).numpy())
    again = open_data(tmp_path / f"{name}.npz", like=None)
    assert again.shape == run.preparation.shape


def test_signals_are_on_the_scale_of_their_data(signals, visarch, tmp_path: Path):
    visarch(f"sample {signals.path} --noise --out {tmp_path}")
    with np.load(tmp_path / "samples-with-noise-64-seed-5.npz") as arrays:
        assert arrays["signals"].min() < -2


def test_images_are_not_written_as_numbers(colors, visarch, tmp_path: Path):
    visarch(f"sample {colors.path} -n 2 --out {tmp_path}")
    assert [file.name for file in tmp_path.iterdir()] == ["samples-2-seed-5.png"]


def test_a_model_on_its_own_leaves_its_pictures_here(digits, visarch, tmp_path, monkeypatch):
    shutil.copytree(digits.path / "model", tmp_path / "lone")
    monkeypatch.chdir(tmp_path)
    output, notes = visarch("sample lone -n 1")
    assert output == "Drawn from seed 5: samples-1-seed-5.png\n"  # as it was trained
    assert "assumed" not in notes
    assert {file.name for file in tmp_path.iterdir()} == {"lone", "samples-1-seed-5.png"}
    files = {file.name for file in (tmp_path / "lone").iterdir()}
    assert files == {file.name for file in (digits.path / "model").iterdir()}
    images = sample(load_run("lone").model, 1, 0)
    assert torch.equal(images, sample(load_run(str(digits.path)).model, 1, 0))


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ("-n 0", "--count is 0; it must be at least 1"),
        ("--columns 0", "--columns is 0; it must be at least 1"),
        ("--seed=-1", "--seed is -1; it must be at least 0"),
        ("--out a.jpg", "--out a.jpg is no folder and does not end in .png"),
        ("--device tpu", "--device tpu is not to be had here"),
    ],
)
def test_flags_that_cannot_be(flags: str, answer: str, digits, refused):
    assert answer in refused(f"sample {digits.path} {flags}")


def test_what_is_no_run(digits, refused, tmp_path: Path):
    assert "There is no run folder" in refused(f"sample {tmp_path / 'none'}")
    shutil.copy(digits.path / "config.yaml", tmp_path)
    assert f"`visarch train --resume {tmp_path}` goes on" in refused(f"sample {tmp_path}")
