"""Training a diffusion model, from its settings to a finished run folder."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
import yaml

import visarch
from visarch.data import open_data
from visarch.errors import UserError
from visarch.models.config import UNetConfig
from visarch.objectives.diffusion import SCHEDULES, Prediction, Weighting
from visarch.run import load_run
from visarch.sampling import SAMPLERS, num_evaluations
from visarch.training.config import from_mapping, with_preset
from visarch.training.diffusion import DiffusionTrainConfig, Network, train_diffusion
from visarch.training.diffusion_defaults import settle, unet_config

TINY = Network(widths=(8, 16), num_blocks=1, num_groups=4, context_dim=16)


@pytest.fixture
def settings(tmp_path: Path) -> DiffusionTrainConfig:
    return DiffusionTrainConfig(
        data=str(tmp_path / "images.npz"),
        out=str(tmp_path / "run"),
        steps=6,
        batch_size=8,
        warmup_steps=2,
        decay="constant",
        checkpoint_every=2,
        log_every=1,
        device="cpu",
        precision="fp32",
        sampling_steps=2,
        model=TINY,
    )


@pytest.fixture(autouse=True)
def images(tmp_path: Path) -> None:
    write(tmp_path, "images", np.random.default_rng(0).integers(0, 256, (40, 9, 7), dtype=np.uint8))


def write(folder: Path, key: str, array: np.ndarray, **more: Any) -> None:
    """Samples with labels of three classes."""
    np.savez(folder / "images.npz", **{key: array, "labels": np.arange(len(array)) % 3, **more})


def unlabelled(folder: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (40, 9, 7), dtype=np.uint8)
    np.savez(folder / "images.npz", images=array)


def with_vectors(folder: Path, **more: Any) -> None:
    random = np.random.default_rng(0)
    array = random.integers(0, 256, (40, 9, 7), dtype=np.uint8)
    vectors = random.normal(5, 3, (40, 2)).astype(np.float32)
    np.savez(folder / "images.npz", images=array, vectors=vectors, **more)


def found(run: str | None) -> dict[str, float]:
    evaluation = json.loads((Path(run or "") / "evaluation.json").read_text())
    return evaluation["metrics"]["validation"]


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "epsilon": {"prediction": "epsilon", "weighting": "elbo"},
    "x0": {"prediction": "x0", "weighting": "min_snr", "sampler": "heun"},
    "linear": {"schedule": "linear", "weighting": "sigmoid", "sampler": "ddpm"},
    "learned variance": {"learned_variance": True, "sampler": "ddpm"},
    "unconditional": {"conditional": "no", "sampler": "ddim"},
    "every label told": {"label_dropout": 0.0},
    "dropout": {"model": replace(TINY, dropout=0.3)},
    "literal attention": {"model": replace(TINY, attention="literal", num_heads=2)},
    "attention everywhere": {"model": replace(TINY, attends=(True, True), attention="residual")},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_trains_to_a_finished_run(variant, settings: DiffusionTrainConfig):
    settings = replace(settings, **variant)
    assert train_diffusion(settings) == 0
    run = Path(settings.out or "")
    metrics = found(settings.out)
    assert set(metrics) == {"loss", "bits/dim"}
    assert all(math.isfinite(value) for value in metrics.values())
    assert {file.name for file in (run / "samples").iterdir()} == {
        "step-000006-samples.png",
        "step-000006-denoised.png",
    }
    assert (run / "report.html").stat().st_size > 10_000
    model = visarch.load(run)
    assert (model.context.label is None) == (settings.conditional == "no")
    assert model.unet.config.attention == (settings.model.attention or "prenorm")
    assert load_run(str(run)).settings["prediction"] == settings.prediction


@pytest.mark.parametrize(
    ("key", "shape"),
    [("signals", (30, 2, 101)), ("volumes", (30, 3, 5, 6, 4)), ("images", (30, 5, 10, 13))],
    ids=["signals", "volumes", "five channels"],
)
def test_signals_and_volumes(key: str, shape, settings: DiffusionTrainConfig, tmp_path: Path):
    write(tmp_path, key, np.random.default_rng(0).random(shape, dtype=np.float32))
    data = open_data(settings.data)
    assert train_diffusion(settings) == 0
    model = visarch.load(Path(settings.out or ""))
    x = torch.zeros(2, *data.shape)
    assert model(x, torch.tensor([0.2, 0.8]), torch.tensor([1, -1])).shape == x.shape


def test_vectors_are_told_normalized(settings: DiffusionTrainConfig, tmp_path: Path):
    with_vectors(tmp_path)
    assert train_diffusion(settings) == 0
    run = load_run(settings.out or "")
    data = open_data(settings.data)
    assert run.vector_names == data.vector_names
    vectors = data.splits["train"].vectors
    assert run.settings["vector_mean"] == pytest.approx(vectors.mean(0).tolist())
    assert run.model.context.vector_dim == 2
    assert run.model.context.label is None
    shown = [vector for _, vector in run.settings["examples"]]
    assert shown[0] == data.splits["validation"].vectors[0].tolist()


def test_labels_and_vectors_together(settings: DiffusionTrainConfig, tmp_path: Path):
    with_vectors(tmp_path, labels=np.arange(40) % 3)
    assert train_diffusion(settings) == 0
    run = load_run(settings.out or "")
    assert run.model.context.label.num_embeddings == 4
    labels = [label for label, _ in run.settings["examples"]]
    assert labels == open_data(settings.data).splits["validation"].labels[: len(labels)].tolist()


def test_it_learns(settings: DiffusionTrainConfig, tmp_path: Path):
    """Of images that are all alike, the network soon knows what is under the noise."""
    write(tmp_path, "images", np.full((40, 8, 8), 200, np.uint8))
    assert train_diffusion(replace(settings, steps=80, learning_rate=3e-3, log_every=5)) == 0
    lines = (Path(settings.out or "") / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert losses[-1] < 0.3 * losses[0]


def test_going_on_is_as_if_it_had_never_stopped(settings: DiffusionTrainConfig, tmp_path: Path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    settings = replace(settings, model=replace(TINY, dropout=0.2), flip="yes")
    train_diffusion(replace(settings, out=whole, steps=10))
    train_diffusion(replace(settings, out=parts, steps=6))
    train_diffusion(replace(settings, out=parts, steps=10))
    for file in ("model/model.safetensors", "checkpoints/last.safetensors", "evaluation.json"):
        assert (Path(whole) / file).read_bytes() == (Path(parts) / file).read_bytes()


# What is left open.


def reasons(settings: DiffusionTrainConfig) -> dict[str, tuple[str, str]]:
    """What is inferred, and why."""
    data = open_data(settings.data)
    given, told = with_preset(settings)
    settled = settle(given, data)
    again = open_data(settings.data)
    assert settle(settled, again) == settled  # and a resumed run finds nothing left open
    return {name: (value, why) for name, value, why in [*told, *data.reasons]}


def test_what_is_inferred_is_told_with_its_reason(settings: DiffusionTrainConfig):
    told = reasons(replace(settings, steps=None, sampling_steps=None, model=Network()))
    assert told["preset"] == ("small", "this trains on a CPU")
    assert told["conditional"] == ("yes", "the images have labels of 3 classes")
    assert told["widths"][0] == "16 32"
    assert told["widths"][1].startswith("2 levels for images of 9×7, ")
    assert told["attends"] == ("False True", "the lowest level alone")
    assert told["guidance"] == ("1", "towards the label")
    assert told["sampling steps"][0] == "10"
    assert told["flip"][0] == "no"
    assert "steps" in told


def test_without_labels_there_is_nothing_to_be_guided_to(settings, tmp_path: Path):
    unlabelled(tmp_path)
    told = reasons(replace(settings, sampling_steps=None))
    assert told["conditional"] == ("no", "there is nothing to tell of them")
    assert told["guidance"][0] == "0"
    assert told["sampling steps"][0] == "20"


@pytest.mark.parametrize(
    ("sampler", "guidance", "steps"),
    [("dpm++", 0, 20), ("heun", 0, 10), ("heun", 2, 5), ("ddim", 2, 10), ("ddpm", 2, 250)],
)
def test_sampling_takes_at_most_20_evaluations(sampler, guidance, steps, settings):
    given = replace(settings, sampler=sampler, guidance=float(guidance), sampling_steps=None)
    assert reasons(given)["sampling steps"][0] == str(steps)
    if sampler != "ddpm":
        assert num_evaluations(sampler, steps, guided=guidance > 0) <= 20


def test_large_images_get_more_levels_and_more_noise(settings, tmp_path: Path):
    write(tmp_path, "images", np.zeros((10, 128, 128), np.uint8))
    told = reasons(replace(settings, model=replace(TINY, widths=None)))
    assert len(told["widths"][0].split()) == 5
    assert told["schedule"][0] == "-1.39"


def test_a_preset_is_the_notes_network_but_for_what_is_given(settings: DiffusionTrainConfig):
    model = Network(num_blocks=1)
    given, _ = with_preset(replace(settings, preset="unet", model=model, learning_rate=1e-3))
    data = open_data(settings.data)
    config = unet_config(settle(given, data), data)
    assert config == UNetConfig(in_channels=1, num_blocks=1, attention="prenorm")
    assert given.learning_rate == 1e-3


def test_choices_are_those_of_the_rooms_that_know_them():
    """These settings are read before torch is, and so are written down again."""
    hints = get_type_hints(DiffusionTrainConfig)
    for name, choices in (
        ("prediction", get_args(Prediction)),
        ("schedule", tuple(SCHEDULES)),
        ("weighting", get_args(Weighting)),
        ("sampler", tuple(SAMPLERS)),
    ):
        assert get_args(hints[name]) == choices


@pytest.mark.parametrize(
    ("widths", "rate"), [((16, 32, 64), 0.004), ((32, 128), 0.002), ((64, 1024, 256), 0.00025)]
)
def test_wider_networks_learn_more_slowly(widths: tuple[int, ...], rate: float, settings):
    data = open_data(settings.data)
    given = replace(settings, preset="small", model=Network(widths=widths))
    assert settle(with_preset(given)[0], data).learning_rate == pytest.approx(rate)
    kept = settle(with_preset(replace(given, learning_rate=0.1))[0], data)
    assert kept.learning_rate == 0.1


def test_attention_and_groups_fit_the_widths(settings: DiffusionTrainConfig):
    """The note's levels attend as its own do; other ones at the lowest, in groups that divide."""
    data = open_data(settings.data)

    def network(preset: str, widths: tuple[int, ...]) -> Network:
        given = replace(settings, preset=preset, model=Network(widths=widths))
        return settle(with_preset(given)[0], data).model

    assert network("unet", (32, 64, 96, 128)).attends == (False, False, True, True)
    assert network("unet", (48, 96)).attends == (False, True)
    assert network("unet", (48, 96)).num_groups == 16
    assert network("small", (12, 20)).num_groups == 4
    assert network("small", (7, 9)).num_groups == 1


def test_training_goes_on_from_the_weights_of_another_run(settings, tmp_path: Path):
    """… in its network, with the labels that there are now."""
    train_diffusion(settings)
    unlabelled(tmp_path)
    again = replace(settings, out=str(tmp_path / "again"), init=settings.out, model=Network())
    assert train_diffusion(replace(again, steps=1, learning_rate=1e-9)) == 0
    first, second = (visarch.load(tmp_path / name) for name in ("run", "again"))
    assert second.unet.config == first.unet.config
    assert second.context.label is None
    for old, new in zip(first.unet.parameters(), second.unet.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=1e-6)


@pytest.mark.parametrize("classes", ["cat dog emu", "1 2 3"])
def test_embeddings_of_other_classes_start_anew(classes: str, settings, tmp_path: Path, capsys):
    def named(names: str) -> None:
        array = np.random.default_rng(0).integers(0, 256, (40, 9, 7), dtype=np.uint8)
        write(tmp_path, "images", array, labels=np.array(names.split())[np.arange(40) % 3])

    named("cat dog emu")
    train_diffusion(settings)
    named(classes)
    capsys.readouterr()
    train_diffusion(replace(settings, out=str(tmp_path / "again"), init=settings.out, steps=1))
    same = classes == "cat dog emu"
    said = "all of its weights fit" if same else "tensors fit; context.label.weight start anew"
    assert said in capsys.readouterr().out


def test_embeddings_of_other_vectors_start_anew(settings, tmp_path: Path, capsys):
    with_vectors(tmp_path)
    train_diffusion(settings)
    again = replace(settings, init=settings.out, steps=1)
    assert train_diffusion(replace(again, out=str(tmp_path / "same"))) == 0
    assert "all of its weights fit" in capsys.readouterr().out
    told = tmp_path / "run" / "model" / "task.json"
    facts = json.loads(told.read_text())
    assert facts["vector_names"] == ["v1", "v2"]
    told.write_text(json.dumps(facts | {"vector_names": ["v1", "speed"]}))
    assert train_diffusion(replace(again, out=str(tmp_path / "other"))) == 0
    assert "context.vector.weight, context.vector.bias start anew" in capsys.readouterr().out


def test_a_run_goes_on_where_what_it_started_from_is_gone(settings, tmp_path: Path):
    train_diffusion(replace(settings, steps=1))
    again = replace(settings, out=str(tmp_path / "again"), init=settings.out, model=Network())
    train_diffusion(replace(again, steps=2))
    shutil.rmtree(tmp_path / "run")
    assert train_diffusion(replace(again, steps=3)) == 0
    saved = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    del saved["task"]
    resumed = from_mapping(DiffusionTrainConfig, saved | {"steps": 4}, place="here")
    assert train_diffusion(resumed) == 0
    assert visarch.load(tmp_path / "again").unet.config.widths == TINY.widths


def test_weights_that_mean_something_else_are_not_started_from(settings, tmp_path: Path):
    train_diffusion(replace(settings, steps=1))
    other = replace(settings, out=str(tmp_path / "other"), init=settings.out, prediction="x0")
    with pytest.raises(UserError, match=r"was trained with --prediction v.*add --prediction v"):
        train_diffusion(other)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "widths and attends": (
        {"model": {"widths": (8, 16), "attends": (True,)}},
        "--widths has 2 numbers and --attends has 1",
    ),
    "context": ({"model": {"context_dim": 20}}, "--context-dim is 20; it must be a multiple of 8"),
    "label dropout": ({"label_dropout": 1.5}, "--label-dropout is 1.5"),
    "guidance": ({"guidance": -2.0}, "--guidance is -2"),
    "sampling steps": ({"sampling_steps": 0}, "--sampling-steps is 0"),
    "prediction": ({"prediction": "score"}, "--prediction is 'score'; it must be one of epsilon"),
}


@pytest.mark.parametrize(("changes", "answer"), REFUSED.values(), ids=REFUSED)
def test_impossible_settings(changes: dict[str, Any], answer: str):
    def make() -> object:
        model = Network(**changes.get("model", {}))
        return DiffusionTrainConfig(data="digits", **{**changes, "model": model})

    with pytest.raises(UserError, match=answer):
        make()


def test_groups_that_do_not_divide_the_widths(settings: DiffusionTrainConfig):
    with pytest.raises(UserError, match="--num-groups is 3; it must divide all of --widths 8 16"):
        train_diffusion(replace(settings, model=replace(TINY, num_groups=3)))


def test_conditions_that_are_not_there(settings: DiffusionTrainConfig, tmp_path: Path):
    unlabelled(tmp_path)
    with pytest.raises(UserError, match=r"--conditional yes.*have neither vectors nor labels"):
        train_diffusion(replace(settings, conditional="yes"))
    with pytest.raises(UserError, match=r"--guidance 2 leads towards a label.*leave it out"):
        train_diffusion(replace(settings, guidance=2.0))


def test_guidance_needs_labels_and_images_without(settings: DiffusionTrainConfig, tmp_path: Path):
    guided = replace(settings, guidance=-0.5)
    with pytest.raises(UserError, match=r"--guidance -0.5 .*--conditional no does not tell .* any"):
        train_diffusion(replace(guided, conditional="no"))
    with pytest.raises(UserError, match=r"--guidance -0.5 .*--label-dropout 0 .* not learn"):
        train_diffusion(replace(guided, label_dropout=0.0))
    with_vectors(tmp_path)
    with pytest.raises(UserError, match=r"--guidance -0.5 .*have no labels of several classes"):
        train_diffusion(guided)
