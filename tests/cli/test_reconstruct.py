"""``visarch reconstruct``: originals beside what the model makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.data import load_images
from visarch.inference.vae import reconstruct
from visarch.outputs import to_values
from visarch.pictures import beside
from visarch.run import load_run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def told(visarch, tmp_path: Path):
    """Type a reconstruction; gives what it says as JSON."""

    def run(command: str) -> dict:
        for before in tmp_path.glob("out.*"):
            before.unlink()
        output, _ = visarch(f"reconstruct {command} --json --out {tmp_path / 'out.png'}")
        return json.loads(output)

    return run


def test_by_default_they_are_those_of_the_end_of_training(trained, visarch):
    output, _ = visarch(f"reconstruct {trained.path}")
    name = Path(trained.data).stem
    path = trained.path / f"outputs/reconstructions-{name}.png"
    assert str(path) in output
    (drawn,) = (trained.path / "samples").glob("*-reconstructions.png")
    assert np.array_equal(pixels(path), pixels(drawn))


def test_by_default_they_are_held_out(trained, told):
    splits = json.loads((trained.path / "data.json").read_text())["splits"]
    names = splits["test" if "test" in splits else "validation"]["names"]
    shown = told(str(trained.path))
    images = shown["images"]
    assert len(images) == min(32, len(names))
    assert [image["name"] for image in images] == [names[image["number"]] for image in images]
    assert told(f"{trained.path} {trained.data}") == shown


def test_of_other_data_all_are_shown(digits, colors, told):
    shown = told(f"{digits.path} {colors.data} -n 1000")
    assert (shown["split"], shown["data"]) == ("all", colors.data)
    assert len(shown["images"]) == 60
    few = told(f"{digits.path} {colors.data} -n 10")["images"]
    assert len(few) == 10
    assert {image["name"].split("/")[0] for image in few} == {"warm", "cold"}


def test_files_are_shown_in_the_order_they_are_named_in(colors, told, tmp_path: Path):
    files = [f"{colors.data}/warm/{number}.png" for number in (4, 0, 2)]
    shown = told(f"{colors.path} {' '.join(files)}")
    assert [image["name"] for image in shown["images"]] == files
    run = load_run(str(colors.path))
    originals, reconstructions = reconstruct(run.model, load_images(files, run.preparation), 256)
    assert np.array_equal(pixels(tmp_path / "out.png"), beside(originals, reconstructions))
    errors = (originals - reconstructions).square().mean((1, 2, 3)).sqrt()
    assert [image["rmse"] for image in shown["images"]] == pytest.approx(errors.tolist())
    assert len(told(f"{colors.path} {' '.join(files)} -n 2")["images"]) == 2
    many = " ".join(f"{colors.data}/cold/{number}.png" for number in range(1, 60, 2))
    assert len(told(f"{colors.path} {many} {many}")["images"]) == 60


def test_the_bounds_are_those_of_an_evaluation(digits, told, visarch):
    """On all images of the split at once, they average to its ELBO, to the last bit of noise."""
    images = told(f"{digits.path} -n 500")["images"]
    evaluated = json.loads(visarch(f"evaluate {digits.path} --json --importance-samples 0")[0])
    elbo = np.mean([image["elbo"] for image in images])
    assert elbo == pytest.approx(evaluated["metrics"]["ELBO"], rel=1e-5)
    bits = np.mean([image["bits_per_dim"] for image in images])
    assert bits == pytest.approx(evaluated["metrics"]["bits/dim"], rel=1e-5)


def test_the_table_says_the_same(digits, told, visarch):
    images = told(f"{digits.path} -n 3")["images"]
    output, _ = visarch(f"reconstruct {digits.path} -n 3")
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in output.splitlines()
        if line.startswith("│")
    ]
    assert rows[:3] == [
        [
            str(image["number"]),
            image["name"],
            f"{image['rmse']:.4f}",
            f"{image['elbo']:.1f}",
            f"{image['bits_per_dim']:.3f}",
        ]
        for image in images
    ]
    number, name, rmse, elbo, bits = rows[3]
    assert (number, name) == ("", "all")
    mean_square = np.mean([image["rmse"] ** 2 for image in images])
    assert float(rmse) == pytest.approx(mean_square**0.5, abs=1e-4)
    assert float(elbo) == pytest.approx(np.mean([image["elbo"] for image in images]), abs=0.1)
    assert float(bits) == pytest.approx(
        np.mean([image["bits_per_dim"] for image in images]), abs=1e-3
    )


@pytest.mark.parametrize("kind", ["signals", "volumes"])
def test_what_is_no_image_is_written_as_numbers(kind: str, request, told, tmp_path: Path):
    trained = request.getfixturevalue(kind)
    shown = told(f"{trained.path} -n 4")
    assert shown["files"] == [str(tmp_path / name) for name in ("out.png", "out.npz")]
    run = load_run(str(trained.path))
    split = run.open_data().splits["validation"]
    taken = split.take("x", [image["number"] for image in shown["images"]])
    _, reconstructions = reconstruct(run.model, taken, run.preparation.levels)
    with np.load(tmp_path / "out.npz") as arrays, np.load(trained.data) as data:
        own = data[kind][[int(name.partition("[")[2][:-1]) for name in taken.names]]
        np.testing.assert_allclose(arrays["originals"], own, atol=1e-4)
        expected = to_values(reconstructions, run.preparation).numpy().reshape(own.shape)
        np.testing.assert_allclose(arrays["reconstructions"], expected, rtol=1e-5, atol=1e-4)


def test_what_cannot_be_read_is_skipped_in_a_folder_and_refused_as_a_file(colors, visarch, refused):
    broken = f"{colors.data}/warm/broken.png"
    _, notes = visarch(f"reconstruct {colors.path} {colors.data} -n 2")
    assert notes == "skipped warm/broken.png: is no image: it holds text\n"
    assert f"'{broken}' is no image: it holds text." in refused(
        f"reconstruct {colors.path} {broken}"
    )


def test_mistakes(digits, signals, colors, refused, tmp_path: Path):
    assert "--count is 0; it must be at least 1" in refused(f"reconstruct {digits.path} -n 0")
    assert "There is no 'none.png'" in refused(f"reconstruct {digits.path} none.png")
    assert "'digits' is no image file, and 2 things" in refused(
        f"reconstruct {digits.path} digits {colors.data}"
    )
    assert "cannot take image files" in refused(f"reconstruct {signals.path} a.png")
    assert "has 2 channels where 1 are needed" in refused(
        f"reconstruct {digits.path} {signals.data}"
    )
    shutil.copytree(digits.path / "model", tmp_path / "lone")
    assert "say which data to take" in refused(f"reconstruct {tmp_path / 'lone'}")
