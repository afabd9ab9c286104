"""``visarch evaluate`` with a diffusion model: its bound, and its samples beside real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from visarch.data import Split
from visarch.evaluation.features import frechet_distance
from visarch.inference.classifier import embed, logits
from visarch.inference.diffusion import sample
from visarch.inference.generated import store
from visarch.inference.recipe import Condition, recipe_of
from visarch.inference.splits import spread
from visarch.models.inception import Inception
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.run import load_run


@pytest.fixture
def record(visarch):
    """What is said as JSON."""

    def run(command: str) -> dict:
        return json.loads(visarch(f"evaluate {command} --json")[0])

    return run


@pytest.mark.parametrize("kind", ["painter", "radio", "sculptor", "pointer"])
def test_the_loss_is_that_of_the_end_of_training(kind: str, request, record):
    trained = request.getfixturevalue(kind)
    told = record(f"{trained.path} --times 2")
    kept = json.loads((trained.path / "evaluation.json").read_text())["metrics"]
    assert told["metrics"]["loss"] == pytest.approx(kept[told["split"]]["loss"], rel=1e-6)
    terms = [
        told["metrics"][f"{name} bits/dim"] for name in ("prior", "diffusion", "reconstruction")
    ]
    assert told["metrics"]["bits/dim"] == pytest.approx(sum(terms), rel=1e-6)
    assert len(told["bands"]) == 10
    assert ("continuous" in str(told["remarks"])) == (kind == "radio")


def test_the_bound_may_be_that_of_some_images(painter, record):
    whole = record(f"{painter.path} --split all --times 1")
    some = record(f"{painter.path} --split all --times 1 --images 10")
    assert (whole["bound_images"], some["bound_images"]) == (90, 10)
    assert whole["images"] == some["images"] == 90
    assert whole["metrics"]["loss"] == some["metrics"]["loss"]
    assert whole["metrics"]["bits/dim"] != some["metrics"]["bits/dim"]
    assert whole["remarks"] == []
    assert "10 of the 90 images" in some["remarks"][0]


def test_tables_for_people(painter, visarch):
    output, _ = visarch(f"evaluate {painter.path} --times 2")
    for name in (
        "loss",
        "bits/dim",
        "prior",
        "diffusion",
        "reconstruction",
        "log-SNR",
        "error of v",
    ):
        assert name in output


def test_samples_beside_real_images_in_the_features_of_a_run(painter, shades, record, visarch):
    flags = f"{painter.path} --split train --features {shades.path} --samples 30 --times 1"
    told = record(flags)["samples"]
    name = f"{shades.path.name} (N=30 against {told_count(painter)}, train)"
    assert (told["sampler"], told["steps"], told["evaluations"]) == ("dpm++", 2, 4)

    run, reader = load_run(str(painter.path)).of(Denoiser), load_run(str(shades.path)).of(ResNet)
    split = run.open_data().splits["train"]
    assert split.labels is not None
    labels = split.labels[spread(len(split), 30)]
    shape = run.preparation.shape
    images = sample(run.model, recipe_of(run), shape, range(30), 5, Condition(labels)).images
    generated = Split("generated", store(images, run.preparation), None, [""] * 30)
    features = [embed(reader.model, one, 256) for one in (split, generated)]
    assert told["metrics"][f"FD-{name}"] == pytest.approx(
        float(frechet_distance(*features)), rel=1e-4
    )
    low, high = told["intervals"][f"FD-{name}"]
    assert low < told["metrics"][f"FD-{name}"] < high
    assert f"precision-{name}" in told["metrics"]

    right = logits(reader.model, generated, 256).argmax(1) == labels
    assert told["read_as_asked"]["value"] == pytest.approx(float(right.float().mean()))
    assert told["read_as_asked"]["images"] == 30
    output, _ = visarch(f"evaluate {flags}")
    assert f"read as asked for by {shades.path.name} (N=30)" in output
    assert "by dpm++ in 2 steps, guidance 1, which takes 4 evaluations" in output


@pytest.mark.parametrize("count", [12, 30, 200])
def test_they_are_asked_to_be_of_each_class_as_often_as_real_images_are(
    count: int, painter, shades, record, monkeypatch: pytest.MonkeyPatch
):
    """… though these are sorted by class, as those in a folder are."""
    asked = []

    def watched(model, recipe, shape, numbers, seed, condition, **more):
        asked.append(condition.labels)
        return torch.rand(len(numbers), *shape), None

    monkeypatch.setattr("visarch.cli.evaluate_diffusion.sample", watched)
    record(
        f"{painter.path} --split train --features {shades.path} --samples {count} --times 1 "
        "--images 1"
    )
    real = load_run(str(painter.path)).open_data().splits["train"].labels
    assert real is not None
    assert (real.diff() >= 0).all()
    (labels,) = asked
    assert len(labels) == count
    expected = real.bincount() * count / len(real)
    assert ((labels.bincount(minlength=3) - expected).abs() <= 1).all()


def told_count(painter) -> int:
    return len(load_run(str(painter.path)).open_data().splits["train"])


def test_another_sampler_may_be_measured(painter, shades, record):
    told = record(
        f"{painter.path} --split all --features {shades.path} --samples 12 --times 1 "
        "--sampler ddim --steps 3 --guidance 0"
    )["samples"]
    assert (told["sampler"], told["steps"], told["evaluations"]) == ("ddim", 3, 3)


def test_guidance_towards_no_label_is_none(painter, shades, record, refused, tmp_path: Path):
    """… and refused if it is asked for."""
    for number in range(14):
        pixels = np.random.default_rng(number).integers(0, 255, (10, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    flags = (
        f"{painter.path} --data {tmp_path} --split all --features {shades.path} --samples 12 "
        "--times 1"
    )
    told = record(flags)["samples"]
    assert (told["guidance"], told["evaluations"]) == (0, 2)
    answer = refused(f"evaluate {flags} --guidance 2")
    assert answer.endswith("leads towards a label, and none is asked for: leave it out.")


def test_a_network_for_other_sizes_gets_images_of_that_size(painter, record, visarch, tmp_path):
    """… and one that knows other classes reads none of them."""
    for number in range(40):
        path = tmp_path / "images" / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 30 + 150 * (number % 2)).save(path)
    visarch(
        f"train classifier --data {tmp_path / 'images'} --out {tmp_path / 'other'} --preset small "
        "--depths 1 --widths 8 --steps 2 --batch-size 8 --warmup-steps 1 --device cpu"
    )
    told = record(
        f"{painter.path} --split all --features {tmp_path / 'other'} --samples 12 --times 1"
    )["samples"]
    assert any(name.startswith("FD-other (N=12 against 90, all)") for name in told["metrics"])
    assert "read_as_asked" not in told


def test_with_inceptions_weights_it_is_called_fid(painter, record, tmp_path: Path, monkeypatch):
    class Small(Inception):
        """Quick, with features of the same kind."""

        def forward(self, x):
            return x.flatten(1)[:, :8]

    monkeypatch.setattr("visarch.models.inception.Inception", Small)
    file = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in Inception().state_dict().items()}, file)
    told = record(f"{painter.path} --split all --features {file} --samples 12 --times 1")["samples"]
    assert any(name.startswith("FID (N=12 against 90, all)") for name in told["metrics"])
    assert "read_as_asked" not in told


@pytest.mark.parametrize(
    ("kind", "flags", "answer"),
    [
        ("painter", "--importance-samples 3", "--importance-samples 3 is for vae runs"),
        ("painter", "--mirrored", "--mirrored is for classifier runs"),
        ("digits", "--times 3", "--times 3 is for diffusion runs"),
        ("shades", "--features x", "--features x is for diffusion runs"),
        ("shades", "--images 3", "--images 3 is for diffusion runs"),
        ("painter", "--images 0", "--images is 0; it must be at least 1"),
        ("painter", "--times 0", "--times is 0; it must be at least 1"),
        ("painter", "--samples 5", "--samples is 5; it must be at least 12"),
        ("painter", "--samples 50", "--samples 50 is for the samples that --features compares"),
        ("painter", "--steps 5", "--steps 5 is for the samples that --features compares"),
        ("painter", "--features none", "There is no run folder"),
        ("painter", "--features {digits}", "only with a ResNet (classifier)"),
        ("painter", "--features {shades}", "that takes at least 12 of them"),
        (
            "radio",
            "--features {shades} --split all",
            "features of {shades} cannot be had: an image has 2 channels",
        ),
        ("painter", "--features a.safetensors", "--features a.safetensors: there is no such file"),
        ("sculptor", "--features a.pth", "Inception takes images of 1 or 3 channels"),
    ],
)
def test_what_cannot_be_measured(kind: str, flags: str, answer: str, request, refused):
    paths = {name: request.getfixturevalue(name).path for name in ("shades", "digits")}
    trained = request.getfixturevalue(kind)
    assert answer.format(**paths) in refused(f"evaluate {trained.path} {flags.format(**paths)}")


def test_images_of_other_data_are_of_the_classes_that_the_model_knows(painter, record, tmp_path):
    """Classes are numbered by the model's names, and images of another class are left out."""
    for number, name in enumerate(["red", "red", "green", "violet"] * 4):
        path = tmp_path / "other" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (10, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    told = record(f"{painter.path} --data {tmp_path / 'other'} --split all --times 1")
    assert told["images"] == 12
    assert "is not what the run was trained on" in str(told["remarks"])


def test_digits_are_of_the_classes_that_the_model_knows(counter, painter, record, refused):
    told = record(f"{counter.path} --data digits --times 1 --images 5")
    assert told["images"] == 150
    assert len(told["skipped"]) == 3500
    answer = refused(f"evaluate {painter.path} --data digits")
    assert "'digits' is of one of the classes blue, green, red; theirs: 0, 1, 2" in answer
