"""What verbs leave behind, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch import GaussianVAE, VAEConfig, __version__
from visarch.data import Preparation, open_data
from visarch.errors import UserError
from visarch.outputs import (
    place,
    save_arrays,
    save_film,
    save_parquet,
    save_picture,
    save_values,
    to_values,
)
from visarch.run import Run

NOTHING_MORE: tuple = (None, None, {}, None, 0, None, None)


def make_run(folder: Path | None) -> Run:
    model = GaussianVAE(VAEConfig(image_shape=(1, 4, 4), latent_dim=2, channels=4, depth=1))
    return Run("x", folder, model, Preparation((1, 4, 4), 256), *NOTHING_MORE)


# Where.


def test_in_the_run_by_default(tmp_path: Path):
    path = place(make_run(tmp_path / "run"), None, "Samples 3, σ=1", ".png")
    assert path == tmp_path / "run/outputs/samples-3-σ-1.png"
    assert path.parent.is_dir()


def test_here_for_a_model_on_its_own(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place(make_run(None), None, "samples", ".png") == Path("samples.png")


@pytest.mark.parametrize("name", ["new/deep.png", "new.d/a.PNG"])
def test_the_file_that_is_named(name: str, tmp_path: Path):
    path = place(make_run(None), tmp_path / name, "samples", ".png")
    assert path == tmp_path / name
    assert path.parent.is_dir()


@pytest.mark.parametrize("name", ["new", "old", "old.v2", "old.png"])
def test_the_folder_that_is_named(name: str, tmp_path: Path):
    if name.startswith("old"):
        (tmp_path / name).mkdir()
    assert place(make_run(None), tmp_path / name, "a b", ".png") == tmp_path / name / "a-b.png"


@pytest.mark.parametrize("name", ["a.jpg", "a.npz", "file"])
def test_another_kind_of_file(name: str, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"{name} is no folder and does not end in \.png"):
        place(make_run(None), tmp_path / name, "samples", ".png")


def test_what_is_there_already_is_kept(tmp_path: Path):
    taken = tmp_path / "a.png"
    taken.touch()
    for out in (taken, tmp_path):
        with pytest.raises(UserError, match=r"a\.png exists already, and is not overwritten"):
            place(make_run(None), out, "a", ".png")


@pytest.mark.parametrize("suffix", [".npz", ".gif", ""])
def test_what_would_be_written_beside_it_is_kept_too(suffix: str, tmp_path: Path):
    taken = tmp_path / f"a{suffix}"
    taken.mkdir()
    place(make_run(None), tmp_path / "a.png", "samples", ".png")
    with pytest.raises(UserError, match="exists already"):
        place(make_run(None), tmp_path / "a.png", "samples", ".png", beside=(".npz", ".gif", ""))


def test_a_picture_of_ours_may_be_drawn_anew_and_another_may_not(tmp_path: Path):
    picture, taken = Image.new("L", (2, 2)), tmp_path / "a.png"
    save_picture(taken, picture, {"seed": "1"})
    (tmp_path / "a.npz").touch()
    assert place(make_run(None), taken, "samples", ".png", beside=(".npz",)) == taken
    picture.save(taken)
    with pytest.raises(UserError, match="exists already"):
        place(make_run(None), taken, "samples", ".png")


def test_what_is_in_the_run_is_written_anew(tmp_path: Path):
    for _ in range(2):
        place(make_run(tmp_path), None, "samples", ".png").touch()


# What.


def test_a_picture_carries_facts(tmp_path: Path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    save_picture(path, Image.fromarray(pixels), {"seed": "3", "from": "日本.png"})
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), pixels)
        expected = {"Software": f"visarch {__version__}", "seed": "3", "from": "日本.png"}
        assert picture.text == expected
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_8_bit_image_needs_no_numbers(channels: int, tmp_path: Path):
    preparation = Preparation((channels, 4, 4), 256)
    images = {"images": torch.rand(2, channels, 4, 4)}
    assert save_values(tmp_path / "a.png", images, preparation) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("preparation", "shape"),
    [
        (Preparation((1, 5), None), (2, 5)),
        (Preparation((3, 5), 256), (2, 3, 5)),
        (Preparation((1, 2, 3, 4), 256), (2, 2, 3, 4)),
        (Preparation((2, 4, 4), 256), (2, 2, 4, 4)),
        (Preparation((1, 4, 4), 65536), (2, 4, 4)),
        (Preparation((1, 4, 4), None), (2, 4, 4)),
    ],
)
def test_what_a_picture_cannot_hold_is_written_as_numbers(preparation, shape, tmp_path: Path):
    images = torch.rand(2, *preparation.shape)
    (path,) = save_values(tmp_path / "a.png", {"x": images, "y": 1 - images}, preparation)
    assert path == tmp_path / "a.npz"
    with np.load(path) as arrays:
        assert list(arrays) == ["x", "y"]
        assert arrays["y"].shape == shape
        expected = to_values(images, preparation).numpy().reshape(shape)
        assert np.array_equal(arrays["x"], expected)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(36, dtype=np.uint8),
        np.arange(36, dtype=np.int32) * 110,
        np.arange(36, dtype=np.float32) * 0.37 - 5,
        np.arange(36, dtype=np.float32) / 36,
        np.arange(36, dtype=np.float64) / 255,
        np.arange(36, dtype=np.float64) * 1000,
    ],
    ids=["bytes", "12 bits", "floats", "unit floats", "8-bit floats", "16-bit floats"],
)
def test_values_go_back_to_the_scale_they_came_from(values: np.ndarray, tmp_path: Path):
    """Each number of an array comes back as itself, whatever type and range it has."""
    path = tmp_path / "data.npz"
    np.savez(path, signals=values.reshape(4, 9))
    data = open_data(path)
    for split in data.splits.values():
        positions = [int(name[len("signals[") : -1]) for name in split.names]
        unit = split.images.double()
        if data.levels is not None:
            unit = (unit + 0.5) / data.levels
        restored = to_values(unit, data.preparation)[:, 0].numpy()
        np.testing.assert_allclose(restored, values.reshape(4, 9)[positions], atol=1e-5)


def test_arrays(tmp_path: Path):
    save_arrays(tmp_path / "any name", {"numbers": np.arange(3), "names": np.array(["a", "σ"])})
    with np.load(tmp_path / "any name", allow_pickle=False) as arrays:
        assert arrays["numbers"].tolist() == [0, 1, 2]
        assert arrays["names"].tolist() == ["a", "σ"]
    assert [file.name for file in tmp_path.iterdir()] == ["any name"]


def test_parquet(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    means = np.arange(6, dtype=np.float32).reshape(3, 2)
    columns = {"names": np.array(list("abc")), "labels": np.array([1, -1, 0]), "means": means}
    save_parquet(tmp_path / "a.parquet", columns, ("cat", "dog"))
    table = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert table == {
        "names": ["a", "b", "c"],
        "labels": ["dog", None, "cat"],
        "means": [[0, 1], [2, 3], [4, 5]],
    }


def test_a_film_runs_for_ever_and_rests_at_its_end(tmp_path: Path):
    frames = [Image.new("RGB", (8, 6), (40 * number, 0, 0)) for number in range(5)]
    save_film(tmp_path / "a.gif", frames, 50, 2000, {"seed": "3"})
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 5
        assert film.info["loop"] == 0
        assert b"seed: 3" in film.info["comment"]
        durations = []
        for number in range(5):
            film.seek(number)
            durations.append(film.info["duration"])
            assert film.convert("RGB").getpixel((3, 3)) == (40 * number, 0, 0)
    assert durations == [50, 50, 50, 50, 2000]
