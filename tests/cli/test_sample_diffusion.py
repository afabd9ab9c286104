"""``visarch sample`` with a diffusion model: what is asked for, and what is kept of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import open_data, to_unit
from visarch.inference.diffusion import sample
from visarch.inference.recipe import Condition, recipe_of
from visarch.models.unet import Denoiser
from visarch.outputs import to_values
from visarch.pictures import to_picture
from visarch.run import load_run

KINDS = ["painter", "radio", "sculptor", "pointer"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def text(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        return picture.text


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_they_are_those_of_the_end_of_training(kind: str, request, visarch):
    trained = request.getfixturevalue(kind)
    output, notes = visarch(f"sample {trained.path}")
    found = re.match(r"Drawn from seed 5 by dpm\+\+ in 2 steps.*: (\S+\.png)", output)
    assert found
    assert notes == ""
    (drawn,) = (trained.path / "samples").glob("*-samples.png")
    assert np.array_equal(pixels(Path(found[1])), pixels(drawn))


def test_a_fresh_process_draws_them_too(painter, tmp_path: Path):
    command = [sys.executable, "-m", "visarch", "sample", str(painter.path), "--out", str(tmp_path)]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    (drawn,) = (painter.path / "samples").glob("*-samples.png")
    (again,) = tmp_path.iterdir()
    assert np.array_equal(pixels(again), pixels(drawn))


def test_several_processes_draw_what_one_does(painter, visarch, tmp_path: Path):
    flags = f"sample {painter.path} -n 40 --separate --film"
    visarch(f"{flags} --out {tmp_path / 'one.png'}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "visarch", *flags.split(), "--out", str(tmp_path / "two.png")],
            env={
                **os.environ,
                **together,
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert outputs[1] == ""
    assert "two.png" in outputs[0]
    for file in ("{}.png", "{}.gif", "{}/0039.png"):
        one, two = (tmp_path / file.format(name) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_what_was_asked_for_is_in_the_picture(painter, visarch, tmp_path: Path):
    output, _ = visarch(
        f"sample {painter.path} -n 2 --label green --sampler heun --steps 3 --guidance 0.5 "
        f"--precision fp32 --seed 7 --separate --out {tmp_path}"
    )
    name = "samples-2-seed-7-label-green-heun-steps-3-guidance-0.5-fp32"
    expected = {"seed": "7", "sampler": "heun", "steps": "3", "guidance": "0.5"}
    expected |= {"evaluations": "10", "label": "green", "precision": "fp32"}
    assert text(tmp_path / f"{name}.png").items() >= expected.items()
    assert text(tmp_path / name / "0001.png").items() >= {**expected, "number": "1"}.items()
    said = "by heun in 3 steps with guidance 0.5, 10 evaluations of the network for each in fp32"
    assert said in output


def test_labels_in_turn_by_name_or_number(painter, visarch, tmp_path: Path):
    visarch(f"sample {painter.path} -n 5 --label red 0 none --separate --out {tmp_path / 'a.png'}")
    told = [text(tmp_path / "a" / f"000{number}.png")["label"] for number in range(5)]
    classes = load_run(str(painter.path)).classes
    assert classes is not None
    assert told == ["red", classes[0], "none", "red", classes[0]]
    run = load_run(str(painter.path)).of(Denoiser)
    condition = Condition(torch.tensor([classes.index("red"), 0, -1, classes.index("red"), 0]))
    recipe, shape = recipe_of(run), run.preparation.shape
    images = sample(run.model, recipe, shape, range(5), run.seed, condition).images
    for number, image in enumerate(images):
        expected = np.asarray(to_picture(image))
        assert np.array_equal(pixels(tmp_path / "a" / f"000{number}.png"), expected)


def test_a_class_that_is_called_by_a_number_is_that_one(counter, visarch, tmp_path: Path):
    visarch(f"sample {counter.path} -n 1 --label 1 --out {tmp_path / 'a.png'}")
    assert text(tmp_path / "a.png")["label"] == "1"


def test_a_picture_does_not_depend_on_how_many_there_are(painter, visarch, tmp_path: Path):
    for count in (4, 20):
        visarch(f"sample {painter.path} -n {count} --separate --out {tmp_path / f'{count}.png'}")
    for number in range(4):
        few, many = (tmp_path / count / f"000{number}.png" for count in ("4", "20"))
        assert few.read_bytes().replace(b"number", b"") == many.read_bytes().replace(b"number", b"")


@pytest.mark.parametrize(("flags", "size"), [("-n 5", (9, 1)), ("-n 10 --columns 4", (4, 3))])
def test_columns(flags: str, size: tuple[int, int], painter, visarch, tmp_path: Path):
    visarch(f"sample {painter.path} {flags} --out {tmp_path / 'a.png'}")
    with Image.open(tmp_path / "a.png") as picture:
        columns = min(size[0], int(flags.split()[1]))
        assert picture.size == (2 + 86 * columns, 2 + 62 * size[1])


def test_another_sampler_has_steps_of_its_own(painter, visarch, tmp_path: Path):
    visarch(f"sample {painter.path} -n 1 --sampler ddim --out {tmp_path / 'a.png'}")
    assert text(tmp_path / "a.png")["steps"] == "10"
    visarch(f"sample {painter.path} -n 1 --sampler dpm++ --out {tmp_path / 'b.png'}")
    assert text(tmp_path / "b.png")["steps"] == "2"


def test_a_vector_is_given_as_in_the_data(pointer, visarch, tmp_path: Path):
    visarch(f"sample {pointer.path} -n 2 --vector 3.5 -1 --out {tmp_path / 'a.png'} --separate")
    assert text(tmp_path / "a" / "0001.png")["vector"] == "3.5 -1"
    run = load_run(str(pointer.path)).of(Denoiser)
    condition = Condition(None, torch.tensor([[3.5, -1.0]]).expand(2, 2))
    shape = run.preparation.shape
    images = sample(run.model, recipe_of(run), shape, range(2), 5, condition).images
    assert np.array_equal(pixels(tmp_path / "a" / "0001.png"), np.asarray(to_picture(images[1])))


# Beside the grid.


def test_a_film_ends_with_the_pictures(painter, visarch, tmp_path: Path):
    visarch(f"sample {painter.path} -n 4 --film --steps 5 --out {tmp_path / 'a.png'}")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 6
        assert film.info["loop"] == 0
        assert b"seed: 5" in film.info["comment"]
        film.seek(5)
        assert film.info["duration"] == 2000
        last = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(last - pixels(tmp_path / "a.png")).mean() < 8  # a GIF has 256 colors


@pytest.mark.parametrize(("kind", "key"), [("radio", "signals"), ("sculptor", "volumes")])
def test_what_is_no_image_is_written_as_numbers(kind, key, request, visarch, tmp_path: Path):
    trained = request.getfixturevalue(kind)
    visarch(f"sample {trained.path} -n 12 --film --out {tmp_path / 'a.png'}")
    assert {file.name for file in tmp_path.iterdir()} == {"a.png", "a.npz", "a.gif"}
    run = load_run(str(trained.path)).of(Denoiser)
    shape = run.preparation.shape
    images = sample(run.model, recipe_of(run), shape, range(12), 5).images
    with np.load(tmp_path / "a.npz") as arrays:
        expected = to_values(images, run.preparation).squeeze(1).numpy()
        assert np.array_equal(arrays[key], expected)
    assert open_data(tmp_path / "a.npz").shape == run.preparation.shape


# Inpainting.


def half(folder: Path, size: tuple[int, int]) -> Path:
    """A mask whose right half is to be made anew."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    mask.save(folder / "mask.png")
    return folder / "mask.png"


@pytest.mark.parametrize("which", ["file", "number"])
def test_what_the_mask_leaves_black_is_kept(which: str, painter, visarch, tmp_path: Path):
    mask = half(tmp_path, (14, 10))
    image = f"{painter.data}/red/0.png" if which == "file" else "2"
    visarch(
        f"sample {painter.path} --inpaint {image} --mask {mask} -n 3 --separate --rounds 2 "
        f"--out {tmp_path / 'a.png'}"
    )
    run = load_run(str(painter.path)).of(Denoiser)
    own = run.held_out(run.open_data()).take("own", [2])
    original = Image.open(image) if which == "file" else to_picture(to_unit(own.images, 256)[0])
    told = text(tmp_path / "a" / "0000.png")
    if which == "file":
        assert told["label"] == "none"
        assert told["evaluations"] == "4"
    else:
        assert run.classes is not None
        assert told["label"] == run.classes[int(own.labels[0])]  # type: ignore[index]
        assert told["evaluations"] == "8"
    for number in range(3):
        ours = pixels(tmp_path / "a" / f"000{number}.png")
        assert np.array_equal(ours[:, :7], np.asarray(original)[:, :7])
        assert not np.array_equal(ours[:, 7:], np.asarray(original)[:, 7:])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 2 + 4 * 86  # beside what is known


def test_a_part_of_a_signal(radio, visarch, tmp_path: Path):
    mask = np.zeros(24)
    mask[10:] = 1
    np.save(tmp_path / "mask.npy", mask)
    visarch(
        f"sample {radio.path} --inpaint 1 --mask {tmp_path / 'mask.npy'} -n 2 "
        f"--out {tmp_path / 'a.png'}"
    )
    run = load_run(str(radio.path))
    own = run.held_out(run.open_data()).images[1]
    with np.load(tmp_path / "a.npz") as arrays:
        expected = to_values(own, run.preparation).numpy()
        assert arrays["signals"][0, :, :10] == pytest.approx(expected[:, :10], abs=1e-4)
        assert np.abs(arrays["signals"][0, :, 10:] - expected[:, 10:]).mean() > 0.1


# What is refused.


@pytest.mark.parametrize(
    ("kind", "flags", "answer"),
    [
        ("painter", "--noise", "--noise is for vae runs"),
        ("digits", "--label 3", "--label 3 is for diffusion runs"),
        ("digits", "--film", "--film is for diffusion runs"),
        ("shades", "", "holds a ResNet"),
        ("painter", "--label gren", "no such class among its 3; nearest: green"),
        ("painter", "--label 3", "a number from 0 to 2"),
        ("counter", "--label 0", "no such class among its 3: 1, 2, 3. Give a name."),
        ("sculptor", "--label 0", "was trained without labels and takes none"),
        ("sculptor", "--guidance 2", "and none is asked for: leave it out"),
        ("painter", "--guidance 2 --label none", "and none is asked for: add --label"),
        ("painter", "--vector 1", "was trained without context vectors"),
        ("pointer", "--vector 1 2 3", "takes 2 numbers"),
        ("pointer", "--vector nan 1", "--vector nan 1: not all of these are finite"),
        ("pointer", "--vector 1 1e39", "--vector 1 1e+39: not all of these are finite"),
        ("painter", "--steps 0", "--steps is 0; it must be at least 1"),
        ("painter", "--guidance nan", "--guidance is nan"),
        ("painter", "--rounds 2", "--rounds 2 is for --inpaint"),
        ("painter", "--inpaint 3", "--inpaint needs --mask"),
        ("painter", "--mask a.png", "--mask needs --inpaint"),
        ("painter", "--inpaint 99 --mask a.png", "There is no image 99"),
        ("painter", "--inpaint 0 --mask none.png", "There is no 'none.png'"),
        ("sculptor", "--inpaint 0 --mask a.png", "give an .npy array of 5×6×4"),
        ("painter", "--inpaint 0 --mask none.npy", "--mask none.npy cannot be read"),
    ],
)
def test_flags_that_cannot_be(kind: str, flags: str, answer: str, request, refused):
    trained = request.getfixturevalue(kind)
    assert answer in refused(f"sample {trained.path} {flags}")


def test_masks_that_cannot_be(painter, radio, refused, tmp_path: Path):
    command = f"sample {painter.path} --inpaint 0 --mask"
    assert "has 20×20 pixels; it must have 14×10" in refused(
        f"{command} {half(tmp_path, (20, 20))}"
    )
    for color, name in ((0, "black"), (255, "white")):
        Image.new("L", (14, 10), color).save(tmp_path / "even.png")
        assert f"is {name} all over" in refused(f"{command} {tmp_path / 'even.png'}")
    np.save(tmp_path / "mask.npy", np.ones(3))
    answer = refused(f"sample {radio.path} --inpaint 0 --mask {tmp_path / 'mask.npy'}")
    assert "has the shape 3; it must be 24" in answer
    (tmp_path / "mask.npy").write_bytes(b"")
    answer = refused(f"sample {radio.path} --inpaint 0 --mask {tmp_path / 'mask.npy'}")
    assert "mask.npy cannot be read" in answer


def test_a_model_that_does_not_say_how_it_is_sampled(painter, refused, tmp_path: Path):
    shutil.copytree(painter.path / "model", tmp_path / "lone")
    told = json.loads((tmp_path / "lone" / "task.json").read_text())
    del told["settings"]["sampler"]
    (tmp_path / "lone" / "task.json").write_text(json.dumps(told))
    assert "does not say how the model was trained" in refused(f"sample {tmp_path / 'lone'}")


def test_a_model_on_its_own(painter, visarch, tmp_path: Path, monkeypatch):
    shutil.copytree(painter.path / "model", tmp_path / "lone")
    monkeypatch.chdir(tmp_path)
    visarch("sample lone")
    (drawn,) = (painter.path / "samples").glob("*-samples.png")
    assert np.array_equal(pixels(tmp_path / "samples-72-seed-5.png"), pixels(drawn))
