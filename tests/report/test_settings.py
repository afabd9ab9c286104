"""Settings beside their defaults, and commands that can be typed."""

import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from visarch.cli import VERBS
from visarch.cli.flags import parse
from visarch.cli.train import Resume, TrainClassifier, TrainDiffusion, TrainVAE
from visarch.models.config import VAEHyperparameters
from visarch.report.run import read_run
from visarch.report.settings import next_commands, reproduce, settings
from visarch.training.classifier import Network as ResNetSettings
from visarch.training.config import TrainConfig, to_yaml, with_preset
from visarch.training.diffusion import Network as UNetSettings

from .pages import make_run

CONFIGS: list[TrainConfig] = [
    TrainVAE(data="digits"),
    TrainVAE(data="my images/$HOME & <b>", steps=40, seed=3, compile=True, image_size=(28, 32)),
    TrainVAE(data="digits", out="somewhere", name="a name", epochs=2.5, learning_rate=1e-5),
    TrainVAE(
        data="digits",
        model=VAEHyperparameters(latent_dim=64, covariance="full", initial_sigma=0.05, depth=1),
        initialization="random",
        optimizer="sgd",
        ema=0.0,
        kl_warmup_steps=7,
    ),
    TrainVAE(data="digits", preset="literal", seed=1),
    TrainClassifier(data="digits"),
    TrainClassifier(
        data="digits",
        preset="small",
        flip="no",
        learning_rate=0.1,
        label_smoothing=0.0,
        model=ResNetSettings(stem="small", dropout=0.5),
    ),
    TrainDiffusion(data="digits", out="somewhere", learned_variance=True),
    TrainDiffusion(
        data="digits",
        preset="small",
        guidance=0.0,
        model=UNetSettings(widths=(16, 32), attends=(False, True), attention="literal"),
    ),
]
TASKS = {TrainVAE: "vae", TrainClassifier: "classifier", TrainDiffusion: "diffusion"}


def run_of(path: Path, config: TrainConfig, **pieces: object) -> Path:
    """A run with these settings, settled as training writes them."""
    make_run(path, **pieces)
    settled, _ = with_preset(config)
    (path / "config.yaml").write_text(to_yaml(settled, task=TASKS[type(config)]), "utf-8")
    return path


@pytest.mark.parametrize("config", CONFIGS)
def test_the_command_that_is_shown_gives_the_same_settings(tmp_path: Path, config: TrainConfig):
    line = reproduce(read_run(run_of(tmp_path, config)))
    assert line is not None
    program, verb, thing, *arguments = shlex.split(line)
    kind = type(config)
    assert (program, verb, thing) == ("visarch", "train", TASKS[kind])
    assert parse(kind, arguments, f"visarch train {thing}")[0] == replace(config, out=None)


def test_a_length_in_time_becomes_the_steps_that_it_came_to(tmp_path: Path):
    config = TrainVAE(data="digits", time="10m")
    assert reproduce(read_run(run_of(tmp_path, config))) == (
        "visarch train vae --data digits --time 10m"
    )
    run = read_run(run_of(tmp_path, config))
    run.progress["total_steps"] = 1234
    assert reproduce(run) == "visarch train vae --data digits --steps 1234"


def test_what_a_preset_sets_is_not_said_again_unless_it_was_overruled(tmp_path: Path):
    config = TrainClassifier(data="digits", preset="small", model=ResNetSettings(depths=(2,) * 4))
    assert reproduce(read_run(run_of(tmp_path, config))) == (
        "visarch train classifier --data digits --preset small --depths 2 2 2 2"
    )


def test_what_is_left_open_is_not_typed(tmp_path: Path):
    run = read_run(make_run(tmp_path, config={"seed": None, "steps": 5}))
    assert reproduce(run) == "visarch train vae --data digits --steps 5"


def test_a_preset_of_another_version_is_no_obstacle(tmp_path: Path):
    run = read_run(make_run(tmp_path, config={"preset": "gigantic"}))
    assert reproduce(run) == "visarch train vae --data digits --preset gigantic"


def test_only_what_was_changed_differs(tmp_path: Path):
    run = read_run(run_of(tmp_path, CONFIGS[3]))
    assert {(s.name, s.value, s.default) for s in settings(run) if s.differs} == {
        ("data", "digits", None),
        ("model.latent_dim", 64, 256),
        ("model.covariance", "full", "diagonal"),
        ("model.initial_sigma", 0.05, 0.1),
        ("model.depth", 1, 2),
        ("optimizer", "sgd", "adamw"),
        ("ema", 0.0, 0.05),
        ("initialization", "random", "pca"),
        ("kl_warmup_steps", 7, 0),
    }


def test_an_unknown_task_has_settings_and_no_command(tmp_path: Path):
    run = read_run(make_run(tmp_path, task="new", config={"depth": 3}))
    assert [(s.name, s.value) for s in settings(run)] == [("data", "digits"), ("depth", 3)]
    assert reproduce(run) is None


def test_a_run_in_progress_can_only_go_on(tmp_path: Path):
    path = run_of(tmp_path / "a run", CONFIGS[0])
    (command,) = next_commands(read_run(path))
    words = shlex.split(command.line)
    assert words[:2] == ["visarch", "train"]
    assert parse(Resume, words[2:], "visarch train")[0] == Resume(resume=path)


@pytest.mark.parametrize(
    ("config", "verbs"),
    [
        (CONFIGS[1], {"sample", "evaluate", "reconstruct", "interpolate", "embed"}),
        (CONFIGS[5], {"predict", "evaluate", "embed"}),
        (CONFIGS[7], {"sample", "evaluate", "interpolate"}),
    ],
)
def test_a_finished_run_can_be_used_and_made_longer(
    tmp_path: Path, config: TrainConfig, verbs: set[str]
):
    evaluation = {"step": 300, "metrics": {"test": {"KL": 20.0}}}
    path = run_of(tmp_path / "a run", config, evaluation=evaluation)
    lines = [shlex.split(command.line) for command in next_commands(read_run(path))]
    *uses, (_, verb, *longer) = lines
    assert verb == "train"
    assert parse(Resume, longer, "visarch train")[0] == Resume(resume=path, steps=600)
    assert {verb for _, verb, *_ in uses} == verbs
    for _, verb, *arguments in uses:
        module, _, name = VERBS[verb].target.partition(":")
        asked, _ = parse(getattr(import_module(module), name), arguments, f"visarch {verb}")
        assert asked.run == str(path)
