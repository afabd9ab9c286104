"""``visarch interpolate``: from one picture to another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import Split, load_images, to_unit
from visarch.inference.vae import interpolate
from visarch.outputs import to_values
from visarch.pictures import strip
from visarch.run import Run, load_run


def expected_picture(run: Run, ends: Split, steps: int) -> np.ndarray:
    """The two ends, and between them the path."""
    first, last = to_unit(ends.images, run.preparation.levels)
    images = interpolate(run.model, ends, run.preparation.levels, steps)
    return np.asarray(strip(first, images, last))


def held_out(run: Run, *numbers: int) -> Split:
    return run.held_out(run.open_data()).take("ends", numbers)


def test_numbers_count_the_held_out_images(trained, visarch):
    output, _ = visarch(f"interpolate {trained.path} 3 1")
    run = load_run(str(trained.path))
    ends = held_out(run, 3, 1)
    path = trained.path / "outputs/interpolation-3-1.png"
    assert output.startswith(f"10 steps from {ends.names[0]} to {ends.names[1]}: {path}")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), expected_picture(run, ends, 10))
        assert (picture.text["from"], picture.text["to"]) == tuple(ends.names)


@pytest.mark.parametrize("steps", [2, 5])
def test_files_and_numbers_may_be_mixed(steps: int, colors, visarch, tmp_path: Path):
    file = f"{colors.data}/warm/0.png"
    visarch(f"interpolate {colors.path} {file} 2 --steps {steps} --out {tmp_path}")
    run = load_run(str(colors.path))
    own = held_out(run, 2)
    images = torch.cat([load_images([file], run.preparation).images, own.images])
    ends = Split("ends", images, None, [file, *own.names])
    with Image.open(tmp_path / "interpolation-0-2.png") as picture:
        assert np.array_equal(np.asarray(picture), expected_picture(run, ends, steps))
        assert picture.width == (steps + 2) * (14 * 6 + 2) + 2 + 2 * 6


def test_a_model_on_its_own_takes_files(colors, visarch, refused, tmp_path, monkeypatch):
    shutil.copytree(colors.path / "model", tmp_path / "lone")
    monkeypatch.chdir(tmp_path)
    files = f"{colors.data}/warm/0.png {colors.data}/cold/1.png"
    output, _ = visarch(f"interpolate lone {files}")
    assert output.endswith(": interpolation-0-1.png\n")
    assert Path("interpolation-0-1.png").is_file()
    assert "1 counts the images of a run's data, and lone is a model without" in refused(
        f"interpolate lone {colors.data}/warm/0.png 1"
    )


@pytest.mark.parametrize("kind", ["signals", "volumes"])
def test_what_is_no_image_is_written_as_numbers(kind: str, request, visarch, tmp_path: Path):
    trained = request.getfixturevalue(kind)
    visarch(f"interpolate {trained.path} 0 1 --steps 4 --out {tmp_path / 'a.png'}")
    run = load_run(str(trained.path))
    images = interpolate(run.model, held_out(run, 0, 1), run.preparation.levels, 4)
    with np.load(tmp_path / "a.npz") as arrays:
        expected = to_values(images, run.preparation).squeeze(1).numpy()
        assert np.array_equal(arrays[kind], expected)


def test_mistakes(digits, signals, refused, tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    assert "--steps is 1; it must be at least 2" in refused(
        f"interpolate {digits.path} 1 2 --steps 1"
    )
    for number in (500, -1):
        assert (
            f"no image {number}: the held-out ones of digits are numbered from 0 to 499"
            in refused(f"interpolate {digits.path} 1 {number}")
        )
    assert "There is no 'none.png'" in refused(f"interpolate {digits.path} none.png 1")
    assert "text.png' is no image: it holds text" in refused(
        f"interpolate {digits.path} 1 {tmp_path / 'text.png'}"
    )
    assert "say which of the held-out samples to take by a number, not by '1' and 'a'" in refused(
        f"interpolate {signals.path} 1 a"
    )
