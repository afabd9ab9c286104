"""Training a classifier, from its settings to a finished run folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import visarch
from visarch.data import Data, Split, open_data
from visarch.errors import UserError
from visarch.training.classifier import ClassifierTrainConfig, Network, train_classifier
from visarch.training.classifier_defaults import check_classes, kind_of, settle
from visarch.training.classifier_task import ClassifierTask
from visarch.training.config import from_mapping, to_yaml, with_preset
from visarch.training.randomness import StepNoise

TINY = Network(block="residual", depths=(1, 1), widths=(4, 6))


def make_data(
    shape: tuple[int, ...] = (3, 8, 8),
    classes: tuple[str, ...] | None = ("cat", "dog", "emu"),
    count: int = 40,
) -> Data:
    images = torch.randint(256, (count, *shape), dtype=torch.uint8)
    labels = torch.arange(count) % len(classes) if classes else None
    names = [f"{number}.png" for number in range(count)]
    split = Split("train", images, labels, names)
    return Data("x", "folder", shape, 256, {"train": split, "validation": split}, classes)


def config(**changes) -> ClassifierTrainConfig:
    return ClassifierTrainConfig(**({"data": "x", "device": "cpu"} | changes))


# Settings.


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"crop": -1}, "--crop is -1"),
        ({"zoom": 1.0}, "--zoom is 1.0"),
        ({"small_first": 1.5}, "--small-first is 1.5"),
        ({"magnitude": 11.0, "randaugment": 1}, "--magnitude is 11"),
        ({"magnitude": 3.0}, "--magnitude 3 .* add --randaugment 2"),
        ({"label_smoothing": 1.0}, "--label-smoothing is 1"),
        ({"flip": "perhaps"}, "--flip is 'perhaps'; it must be one of auto, yes, no"),
        ({"learning_rate": 0.0}, "--learning-rate is 0"),
        ({"preset": "huge"}, "resnet50, small"),
    ],
)
def test_values_out_of_range_are_refused(changes, answer: str):
    with pytest.raises(UserError, match=answer):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"depths": (1, 0)}, r"--depths is \(1, 0\)"),
        ({"widths": ()}, r"--widths is \(\)"),
        ({"depths": (1, 1), "widths": (4,)}, "--depths 1 1 and --widths 4 must be as many"),
        ({"dropout": 1.0}, "--dropout is 1"),
    ],
)
def test_networks_that_there_are_not(changes, answer: str):
    with pytest.raises(UserError, match=answer):
        Network(**changes)


def test_settings_come_back_from_yaml():
    settled = settle(config(randaugment=1, model=Network(dropout=0.1)), make_data())
    read = from_mapping(ClassifierTrainConfig, yaml.safe_load(to_yaml(settled)), place="here")
    assert read == settled


# What is inferred.


@pytest.mark.parametrize(
    ("shape", "classes", "kind", "changes"),
    [
        ((3, 32, 32), ("cat", "dog"), "photographs", ("yes", 4, 0.0, 0.0, 8)),
        ((3, 32, 32), ("a", "b"), "photographs", ("yes", 4, 0.0, 0.0, 8)),
        ((3, 32, 32), tuple("0123456789"), "characters", ("no", 2, 10.0, 0.1, 0)),
        ((1, 28, 28), ("a", "b"), "characters", ("no", 2, 10.0, 0.1, 0)),
        ((1, 50, 37), ("sick", "well"), "gray images", ("no", 3, 0.0, 0.0, 0)),
        ((2, 101), ("0", "1"), "signals", ("no", 6, 0.0, 0.0, 0)),
        ((1, 5, 6, 7), ("x", "y"), "volumes", ("no", 0, 0.0, 0.0, 0)),
    ],
)
def test_augmentation_goes_by_what_the_images_show(shape, classes, kind: str, changes):
    data = make_data(shape, classes)
    assert kind_of(data).name == kind
    settled = settle(config(), data)
    inferred = (settled.flip, settled.crop, settled.rotate, settled.zoom, settled.cutout)
    assert inferred == changes
    told = {name: value for name, value, _ in data.reasons}
    assert told["flip"] == settled.flip
    assert ("crop" in told) == (settled.crop != 0)


def test_many_photographs_move_less_and_are_small_first():
    data = make_data((3, 32, 32), count=20_000)
    settled = settle(config(), data)
    assert (settled.crop, settled.small_first, settled.cutout) == (2, 0.65, 0)
    whole = settle(config(small_first=0.0), make_data((3, 32, 32), count=20_000))
    assert settled.steps is not None
    assert whole.steps is not None
    # as many pixels in all, as far as steps are whole
    cost = 0.65 * 0.75**2 + 0.35
    assert settled.steps * cost == pytest.approx(whole.steps, abs=1)
    assert ("small first", "0.65", "20,000 training images are many") in data.reasons


@pytest.mark.parametrize(
    ("changes", "shape", "count"),
    [
        ({"preset": "resnet50"}, (3, 32, 32), 20_000),
        ({"time": "3m"}, (3, 32, 32), 20_000),
        ({}, (3, 31, 32), 20_000),
        ({}, (3, 32, 32), 19_999),
        ({}, (1, 32, 32), 20_000),
    ],
)
def test_others_are_never_small(changes, shape, count: int):
    given, _ = with_preset(config(**changes))
    assert settle(given, make_data(shape, count=count)).small_first == 0


def test_what_is_given_stays():
    given = config(
        flip="no",
        crop=0,
        rotate=3.0,
        zoom=0.0,
        cutout=5,
        learning_rate=0.7,
        weight_decay=0.0,
        clip=3.0,
    )
    data = make_data()
    settled = settle(given, data)
    names = "flip", "crop", "rotate", "zoom", "cutout", "learning_rate", "weight_decay", "clip"
    for name in names:
        assert getattr(settled, name) == getattr(given, name)
    assert not {"flip", "crop", "rotate", "learning rate"} & {name for name, _, _ in data.reasons}


def test_settling_twice_is_settling_once():
    settled = settle(config(randaugment=2), make_data())
    data = make_data()
    assert settle(settled, data) == settled
    assert data.reasons == []


def test_the_default_network_is_small_on_a_cpu_and_goes_by_the_sides():
    settled = settle(config(), make_data())
    assert (settled.preset, settled.model.widths) == ("small", (32, 64, 128, 256))
    assert settled.model.stem == "small"
    assert settle(config(), make_data((3, 96, 80), count=3)).model.stem == "large"
    mixed = settle(config(model=Network(widths=(8, 8, 8, 8))), make_data())
    assert (mixed.model.widths, mixed.model.block) == ((8, 8, 8, 8), "residual")


@pytest.mark.parametrize(
    ("optimizer", "preset", "batch_size", "rate", "clip"),
    [
        ("sgd", "small", 128, 0.4, 0),
        ("sgd", "small", 512, 1.6, 0),
        ("sgd", "resnet50", 256, 0.2, 0),
        ("adamw", "small", 512, 4e-3, 1),
    ],
)
def test_learning_rate_and_clipping_go_by_optimizer_network_and_batch(
    optimizer: str, preset: str, batch_size: int, rate: float, clip: float
):
    given = config(optimizer=optimizer, preset=preset, batch_size=batch_size)
    settled = settle(with_preset(given)[0], make_data())
    assert settled.learning_rate == pytest.approx(rate)
    assert settled.clip == clip


def test_the_length_goes_by_the_number_of_images():
    lengths = [
        settle(config(batch_size=8), make_data(count=count)).steps for count in (3, 40, 4000)
    ]
    assert lengths == [200, 500, 7750]
    assert settle(config(time="3m"), make_data()).steps is None


# Classes.


def test_without_labels_one_is_told_what_to_do():
    with pytest.raises(UserError, match=r"no labels.*sub-folder.*CSV.*npz.*train vae"):
        check_classes(make_data(classes=None))


def test_one_class_is_not_enough():
    with pytest.raises(UserError, match="one class, 'cat'"):
        check_classes(make_data(classes=("cat",)))


def test_classes_of_unequal_sizes_are_remarked_on():
    data = make_data(count=40)
    assert check_classes(data) == ("cat", "dog", "emu")
    assert data.reasons == []
    data.splits["train"].labels[:] = torch.tensor([2] * 36 + [0] * 3 + [1])
    check_classes(data)
    assert data.reasons[0][:2] == ("class sizes", "36 images of emu, 1 of dog")


@pytest.mark.parametrize(
    ("changes", "shape", "answer"),
    [
        ({"randaugment": 1}, (1, 30), "--randaugment 1 is for images"),
        ({"rotate": 5.0}, (1, 30), "--rotate 5 .* signals"),
        ({"mixup": 0.2, "batch_size": 5}, (3, 8, 8), "--batch-size 5 gives each process 5"),
        ({"batch_size": 1}, (3, 8, 8), "--batch-size is 1, .* BatchNorm cannot tell"),
        ({"crop": 9}, (3, 8, 9), "--crop is 9, and the images are 8×9"),
        ({"small_first": 0.5}, (1, 30), "--small-first 0.5 is for images"),
        ({"small_first": 0.5, "time": "3m"}, (3, 8, 9), "--time 3m leaves it open"),
        ({"cutout": 9}, (3, 8, 9), "--cutout is 9, and the images are 8×9"),
        ({"model": Network(widths=(4, 4))}, (3, 8, 8), "--depths 1 1 2 2 and --widths 4 4 must be"),
    ],
)
def test_what_does_not_fit_the_samples_is_refused(changes, shape, answer: str):
    with pytest.raises(UserError, match=answer):
        settle(config(**changes), make_data(shape))


def test_one_training_image_is_refused_where_the_last_stack_leaves_one_pixel():
    with pytest.raises(UserError, match=r"There is 1 training image, .* Take 2 or more"):
        settle(config(), make_data((3, 8, 8), count=1))


def test_one_image_per_step_does_where_pixels_are_left_to_tell_from():
    assert settle(config(batch_size=1), make_data((3, 9, 8))).batch_size == 1


# The task.

AUGMENTATIONS = {
    "none": {"crop": 0, "flip": "no", "cutout": 0},
    "default": {},
    "turned": {"rotate": 20.0, "zoom": 0.2},
    "much": {"randaugment": 2, "mixup": 0.4, "cutout": 3},
    "small": {"small_first": 1.0, "steps": 10},
}


def make_task(data: Data, **changes) -> ClassifierTask:
    return ClassifierTask(settle(config(model=TINY, **changes), data), data)


@pytest.mark.parametrize("changes", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_see_what_one_does(changes, processes: int):
    data = make_data(count=8)
    task = make_task(data, **changes)
    images, targets = data.splits["train"].images, torch.eye(8)
    whole = task.augment(images, targets, StepNoise(0, 3, 8))
    parts = [
        task.augment(part, target, StepNoise(0, 3, 8, rank, processes))
        for rank, (part, target) in enumerate(
            zip(images.chunk(processes), targets.chunk(processes), strict=True)
        )
    ]
    for together, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(pieces), together, rtol=0, atol=1e-6)


def test_without_augmentation_images_come_through_as_they_are():
    data = make_data()
    task = make_task(data, **AUGMENTATIONS["none"])
    images = data.splits["train"].images
    x, _ = task.augment(images, torch.eye(40), StepNoise(0, 0, 40))
    assert torch.equal(x, (images + 0.5) / 256)


def test_images_are_small_in_the_beginning_alone():
    data = make_data((3, 8, 6))
    task = make_task(data, small_first=0.5, steps=10, **AUGMENTATIONS["none"])
    images, targets = data.splits["train"].images, torch.eye(40)
    sides = [task.augment(images, targets, StepNoise(0, n, 40))[0].shape[2:] for n in range(10)]
    assert sides == [(6, 5)] * 5 + [(8, 6)] * 5


def test_statistics_are_of_images_at_their_full_size(settings: ClassifierTrainConfig):
    runs = []
    for share in (0.0, 1.0):
        own = replace(
            settings, out=f"{settings.out}-{share}", small_first=share, learning_rate=1e-9
        )
        own = replace(own, crop=0, flip="no", cutout=0)
        assert train_classifier(own) == 0
        runs.append(visarch.load(own.out))
    # with the same weights, and nothing that is drawn, they are the same
    for (name, a), b in zip(
        runs[0].state_dict().items(), runs[1].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_augmentation_keeps_the_memory_format():
    data = make_data()
    images = data.splits["train"].images.contiguous(memory_format=torch.channels_last)
    for changes in AUGMENTATIONS.values():
        x, _ = make_task(data, **changes).augment(images, torch.eye(40), StepNoise(0, 0, 40))
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_images_are_augmented_alike_in_every_precision():
    seen, data = [], make_data((3, 15, 14))
    task = make_task(data, rotate=20.0, zoom=0.2, crop=2, randaugment=2)
    model = visarch.ResNet(visarch.ResNetConfig(3, 3, depths=(1,), widths=(4,)))
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = data.splits["train"].read(torch.arange(16))
    for is_low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_low):
            task.loss(model, batch, StepNoise(0, 0, 16))
    assert torch.equal(*seen)


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_cross_entropy(training: bool):
    data = make_data()
    task = make_task(data, **AUGMENTATIONS["none"])
    model = visarch.ResNet(visarch.ResNetConfig(3, 3, depths=(1,), widths=(4,))).train(training)
    batch = data.splits["train"].read(torch.arange(10))
    loss, told = task.loss(model, batch, StepNoise(0, 0, 10))
    logits = model((batch.images + 0.5) / 256)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    assert float(told["accuracy"]) == pytest.approx(
        float((logits.argmax(1) == batch.labels).float().mean())
    )


def test_pictures_are_of_what_was_measured_last_unless_the_model_has_changed():
    data = make_data()
    task = make_task(data)
    model = visarch.ResNet(visarch.ResNetConfig(3, 3, depths=(1,), widths=(4,))).eval()
    seen: list[int] = []
    model.stages_of = model.stages
    model.stages = lambda x: seen.append(len(x)) or model.stages_of(x)  # type: ignore[method-assign, func-returns-value]
    with torch.no_grad():
        first = task.pictures(model, data)
        assert seen == [40]
        task.evaluate(model, data.splits["validation"], StepNoise(0, 0, 1))
        same = task.pictures(model, data)
        assert seen == [40, 40]
        model.classifier.bias[0] += 50
        other = task.pictures(model, data)
        assert seen == [40, 40, 40]
    assert first["confusion"].tobytes() == same["confusion"].tobytes()
    assert first["confusion"].tobytes() != other["confusion"].tobytes()


# Whole runs.


@pytest.fixture
def settings(tmp_path: Path) -> ClassifierTrainConfig:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 90, (60, 9, 7, 3)) + 80 * (labels[:, None, None, None] == range(3))
    names = np.array(["cat", "dog", "emu"])[labels]
    np.savez(tmp_path / "images.npz", images=images.astype(np.uint8), labels=names)
    return config(
        data=str(tmp_path / "images.npz"),
        out=str(tmp_path / "run"),
        steps=4,
        batch_size=8,
        warmup_steps=2,
        checkpoint_every=2,
        precision="fp32",
        model=TINY,
    )


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_a_run_learns_and_leaves_what_it_found(settings: ClassifierTrainConfig, capsys):
    settings = replace(settings, steps=80, learning_rate=0.05, checkpoint_every=0)
    assert train_classifier(settings) == 0
    run = Path(settings.out or "")
    found = json.loads((run / "evaluation.json").read_text())["metrics"]["validation"]
    assert found["accuracy"] == 1
    assert {path.stem for path in (run / "samples").glob("step-000080-*.png")} >= {
        "step-000080-confusion",
        "step-000080-reliability",
        "step-000080-examples",
    }
    assert (run / "report.html").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "images are classified correctly" in said
    assert "visarch predict" in said
    model = visarch.load(run)
    assert (model.config.num_classes, model.config.widths) == (3, (4, 6))
    assert yaml.safe_load((run / "config.yaml").read_text())["weight_decay"] == 5e-4


@pytest.mark.parametrize("changes", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_a_resumed_run_is_the_same_byte_for_byte(
    changes, settings: ClassifierTrainConfig, tmp_path
):
    settings = replace(settings, decay="constant", sample_every=0, **changes)
    train_classifier(settings)
    other = replace(settings, out=str(tmp_path / "other"))
    train_classifier(replace(other, steps=2))
    train_classifier(other)
    assert weights(tmp_path / "run") == weights(tmp_path / "other")


@pytest.mark.parametrize("shape", [(2, 101), (5, 12, 9), (1, 4, 5, 6)])
def test_signals_and_volumes_of_any_number_of_channels(shape, settings, tmp_path: Path):
    rng = np.random.default_rng(0)
    key = {2: "signals", 3: "images", 4: "volumes"}[len(shape)]
    values = np.moveaxis(rng.normal(size=(30, *shape)).astype(np.float32), 1, -1)
    np.savez(tmp_path / "images.npz", **{key: values}, labels=np.arange(30) % 2)
    assert train_classifier(settings) == 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]


@pytest.mark.parametrize("classes", [["cat", "dog"], ["x", "y", "z"]])
def test_fine_tuning_makes_the_last_layer_anew_for_other_classes(
    classes: list[str], settings, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    train_classifier(settings)
    images = open_data(settings.data).splits["train"].images.numpy()
    other, first = tmp_path / "other.npz", str(tmp_path / "run")
    labels = np.array(classes)[np.arange(len(images)) % len(classes)]
    np.savez(other, images=np.moveaxis(images, 1, -1), labels=labels)
    capsys.readouterr()
    tuned = replace(
        settings, data=str(other), out=str(tmp_path / "tuned"), init=first, model=Network()
    )
    assert train_classifier(tuned) == 0
    said = capsys.readouterr().out
    assert f"widths: 4 6 (that of {first})" in said
    assert "a tenth because it starts from trained weights" in said
    assert "classifier.weight, classifier.bias start anew" in said
    assert visarch.load(tmp_path / "tuned").config.num_classes == len(classes)
    shutil.rmtree(first)  # going on does not take it, nor looks for it
    monkeypatch.delattr("visarch.hub.hf_hub_download")
    assert train_classifier(replace(tuned, steps=4)) == 0
    saved = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    saved.pop("task")
    again = from_mapping(ClassifierTrainConfig, saved | {"steps": 5}, place="here")
    assert train_classifier(again) == 0


def test_fine_tuning_on_the_same_classes_keeps_the_last_layer(settings, tmp_path, capsys):
    train_classifier(settings)
    again = replace(settings, out=str(tmp_path / "again"), init=str(tmp_path / "run"))
    assert train_classifier(again) == 0
    assert "all of its weights fit" in capsys.readouterr().out
