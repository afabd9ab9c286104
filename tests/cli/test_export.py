"""``visarch export``: files that compute what the verbs do, or none."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession
from PIL import Image

from visarch.cli import main
from visarch.data import to_uint8
from visarch.export import files
from visarch.inference.diffusion import sample as draw
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import recipe_of
from visarch.inference.vae import sample
from visarch.run import load_run


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier of digits that reads most of them."""
    out = tmp_path_factory.mktemp("reader") / "run"
    flags = (
        "--block residual --depths 1 1 --widths 8 12 --warmup-steps 5 --learning-rate 0.1 "
        "--steps 40 --batch-size 32 --precision fp32 --device cpu"
    )
    assert main(["train", "classifier", "--data", "digits", "--out", str(out), *flags.split()]) == 0
    return out


@pytest.fixture(scope="module")
def exported(reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX file."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert main(["export", str(reader), "--out", str(folder), "--quiet"]) == 0
    return folder / "classifier.onnx"


def test_every_digit_is_read_as_predict_reads_it(reader, exported, visarch, tmp_path: Path):
    visarch(f"predict {reader} --top 10 --out {tmp_path / 'p.csv'}")
    rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))[1:]
    split = load_run(str(reader)).open_data().splits["test"]
    session = InferenceSession(exported)
    classes = (exported.parent / "labels.txt").read_text().splitlines()
    (probabilities,) = session.run(None, {"images": split.images.numpy()})
    assert len(probabilities) == len(rows) == len(split) == 500
    for own, (name, *pairs), expected in zip(probabilities, rows, split.names, strict=True):
        assert name == expected
        assert classes[own.argmax()] == pairs[0]
        said = dict(zip(pairs[::2], map(float, pairs[1::2]), strict=True))
        assert dict(zip(classes, own.tolist(), strict=True)) == pytest.approx(said, abs=1e-5)


def test_pictures_of_any_size_are_prepared_as_predict_prepares_them(
    reader, exported, visarch, tmp_path: Path
):
    session = InferenceSession(exported)
    images = load_run(str(reader)).open_data().splits["test"].images
    for number, size in enumerate([(100, 31), (9, 9), (28, 29), (1, 3)]):
        path = tmp_path / f"{number}.png"
        picture = Image.fromarray(images[number, 0].numpy()).resize(size)
        picture.save(path)
        output, _ = visarch(f"predict {reader} {path} --top 10 --json")
        said = {p["class"]: p["probability"] for p in json.loads(output)[0]["predictions"]}
        (own,) = session.run(None, {"images": np.array(picture)[None, None]})
        assert dict(enumerate(own[0].tolist())) == pytest.approx(
            {int(name): share for name, share in said.items()}, abs=1e-3
        )


def test_the_file_says_what_it_is(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    (given,), (answer,) = model.graph.input, model.graph.output
    axes = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert (given.name, axes) == ("images", ["batch", 1, "height", "width"])
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert answer.name == "probabilities"
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["classes"]) == list("0123456789")
    assert json.loads(told["preparation"])["shape"] == [1, 28, 28]
    assert told["task"] == "classifier"
    assert str(Path.cwd()).encode() not in exported.read_bytes()


def test_a_program_loads_where_there_is_no_visarch(shades, visarch, tmp_path: Path):
    output, _ = visarch(f"export {shades.path} --format torch --out {tmp_path / 'x'} --json")
    told = json.loads(output)
    file = tmp_path / "x" / "classifier.pt2"
    assert told["files"] == [str(file), str(tmp_path / "x" / "labels.txt")]
    assert all(check["agrees"] for check in told["checks"])
    assert [check["top1"] for check in told["checks"]] == [c["count"] for c in told["checks"]]
    code = f"""
import sys; sys.modules["visarch"] = None
import torch, json
kept = {{"visarch.json": ""}}
module = torch.export.load({str(file)!r}, extra_files=kept).module()
image = torch.zeros(1, 3, 7, 50, dtype=torch.uint8)
image[:, 0] = 150
name = json.loads(kept["visarch.json"])["classes"][int(module(image).argmax())]
assert name == "red", name
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_decoder_draws_the_samples_of_sample(digits, visarch, tmp_path: Path):
    output, _ = visarch(f"export {digits.path} --out {tmp_path}")
    assert output.splitlines()[-1].startswith("Written: ")
    run = load_run(str(digits.path))
    z = numbered_normal("sample", run.seed, range(9), (8,))
    images, mean, _ = InferenceSession(tmp_path / "decoder.onnx").run(None, {"latents": z.numpy()})
    expected = sample(run.model, 9, run.seed)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    assert np.abs(images.astype(int) - to_uint8(expected).int().numpy()).max() <= 1
    visarch(f"sample {digits.path} -n 9 --out {tmp_path / 'grid.png'} --separate")
    for number, image in enumerate(images):
        drawn = np.array(Image.open(tmp_path / "grid" / f"{number:04d}.png"))
        assert np.abs(drawn.astype(int) - image[0]).max() <= 1

    split = run.open_data().splits["test"].take("some", [0])
    mean, scale = InferenceSession(tmp_path / "encoder.onnx").run(
        None, {"images": split.images.numpy()}
    )
    posterior = run.model.encode((split.images + 0.5) / 256)
    np.testing.assert_allclose(mean, posterior.mean.detach(), atol=1e-4)
    np.testing.assert_allclose(scale, posterior.scale.detach(), atol=1e-4)


# a loop is traced by the compiler, which takes no types that are checked on the way
@pytest.mark.usefixtures("as_for_users")
def test_a_sampler_draws_the_samples_of_sample(painter, visarch, tmp_path: Path):
    visarch(f"export {painter.path} --out {tmp_path} --steps 3 --guidance 2 --quiet")
    run = load_run(str(painter.path))
    recipe = replace(recipe_of(run), steps=3, guidance=2.0, precision="fp32")
    noise = numbered_normal("sample", 8, range(3), run.preparation.shape)
    condition = recipe.usual(run.model, range(3))
    session = InferenceSession(tmp_path / "sampler.onnx")
    for guidance in (2.0, 0.0):
        inputs = {"noise": noise.numpy(), "label": condition.labels.numpy()}
        inputs["guidance"] = np.array(guidance, np.float32)
        images, unit = session.run(None, inputs)
        own = replace(recipe, guidance=guidance)
        expected = draw(run.model, own, run.preparation.shape, range(3), 8, condition).images
        np.testing.assert_allclose(unit, expected, atol=1e-4)
        assert np.abs(images.astype(int) - to_uint8(expected).int().numpy()).max() <= 1
    assert (tmp_path / "labels.txt").read_text() == "blue\ngreen\nred\n"


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        ("signals", ""),
        ("volumes", "--format torch"),
        ("radio", "--format torch --sampler heun"),
        ("pointer", "--format torch --sampler ddim"),
    ],
)
@pytest.mark.usefixtures("as_for_users")
def test_other_data_is_exported_too(data, flags, request, visarch, tmp_path: Path):
    run = request.getfixturevalue(data)
    output, _ = visarch(f"export {run.path} --out {tmp_path} {flags} --json")
    assert all(check["agrees"] for check in json.loads(output)["checks"])


@pytest.fixture
def one_weight_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose first weight is another one than the model's."""
    write = files.KINDS["onnx"].write

    def corrupt(graph, path: Path, facts) -> None:
        write(graph, path, facts)
        model = onnx.load(path)
        weight = next(w for w in model.graph.initializer if len(w.dims) == 4)
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[0] += 1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)

    monkeypatch.setitem(files.KINDS, "onnx", replace(files.KINDS["onnx"], write=corrupt))


@pytest.mark.usefixtures("one_weight_off")
def test_what_disagrees_is_not_written(shades, capsys: pytest.CaptureFixture, tmp_path: Path):
    folder = tmp_path / "a" / "b"
    assert main(["export", str(shades.path), "--out", str(folder)]) == 1
    output, complaint = capsys.readouterr()
    assert output == ""
    assert "does not compute what the model does" in complaint
    assert not list(tmp_path.iterdir())


def test_into_the_folder_where_one_is(
    shades, visarch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    visarch(f"export {shades.path.resolve()} --format torch --out .")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mine.txt", "classifier.pt2", "labels.txt"}


def test_a_kill_leaves_nothing(shades, tmp_path: Path):
    """Sent while the file is being written to the side."""
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "visarch", "export", str(shades.path), "--out", str(folder)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not list(tmp_path.glob(".out.*.partial")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(shades, refused, monkeypatch: pytest.MonkeyPatch):
    found = files.find_spec
    monkeypatch.setattr(
        files, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    complaint = refused(f"export {shades.path}")
    assert "onnxscript: pip install 'visarch[export]'" in complaint


def test_what_is_refused(shades, digits, painter, refused, tmp_path: Path):
    assert "--steps" in refused(f"export {shades.path} --steps 3")
    assert "--steps is 0" in refused(f"export {painter.path} --steps 0")
    assert "needs no others" in refused(f"export {painter.path} --data digits")
    assert "must be a folder" in refused(f"export {shades.path} --out {tmp_path / 'x.onnx'}")
    shutil.copytree(shades.path / "model", tmp_path / "alone")
    assert "say which data" in refused(f"export {tmp_path / 'alone'}")


def test_ancestral_sampling_is_refused(painter, refused, monkeypatch: pytest.MonkeyPatch):
    ancestral = replace(recipe_of(load_run(str(painter.path))), sampler="ddpm")
    monkeypatch.setattr("visarch.inference.recipe.recipe_of", lambda run: ancestral)
    assert "--sampler ddim" in refused(f"export {painter.path}")


def test_weights_that_one_file_cannot_hold_lie_beside_it(
    shades, visarch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(files, "_MOST_BYTES", 1000)
    output, _ = visarch(f"export {shades.path} --out {tmp_path} --json")
    names = [Path(file).name for file in json.loads(output)["files"]]
    assert names == ["classifier.onnx", "classifier.onnx.data", "labels.txt"]
    session = InferenceSession(tmp_path / "classifier.onnx")
    assert session.run(None, {"images": np.zeros((1, 3, 5, 5), np.uint8)})[0].shape == (1, 3)
