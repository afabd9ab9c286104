"""Settings beside their defaults, and commands that can be typed."""

import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from visarch.cli import VERBS
from visarch.cli.flags import parse
from visarch.cli.train import Resume, TrainVAE
from visarch.models.config import VAEHyperparameters
from visarch.report.run import read_run
from visarch.report.settings import next_commands, reproduce, settings
from visarch.training.config import to_yaml

from .pages import make_run

CONFIGS = [
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
]


def run_of(path: Path, config: TrainVAE, **pieces: object) -> Path:
    make_run(path, **pieces)
    (path / "config.yaml").write_text(to_yaml(config, task="vae"), "utf-8")
    return path


@pytest.mark.parametrize("config", CONFIGS)
def test_the_command_that_is_shown_gives_the_same_settings(tmp_path: Path, config: TrainVAE):
    line = reproduce(read_run(run_of(tmp_path, config)))
    assert line is not None
    program, verb, thing, *arguments = shlex.split(line)
    assert (program, verb, thing) == ("visarch", "train", "vae")
    assert parse(TrainVAE, arguments, "visarch train vae") == replace(config, out=None)


def test_a_length_in_time_becomes_the_steps_that_it_came_to(tmp_path: Path):
    config = TrainVAE(data="digits", time="10m")
    assert reproduce(read_run(run_of(tmp_path, config))) == (
        "visarch train vae --data digits --time 10m"
    )
    run = read_run(run_of(tmp_path, config))
    run.progress["total_steps"] = 1234
    assert reproduce(run) == "visarch train vae --data digits --steps 1234"


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
    assert parse(Resume, words[2:], "visarch train") == Resume(resume=path)


def test_a_finished_run_can_be_used_and_made_longer(tmp_path: Path):
    evaluation = {"step": 300, "metrics": {"test": {"KL": 20.0}}}
    path = run_of(tmp_path / "a run", CONFIGS[1], evaluation=evaluation)
    lines = [shlex.split(command.line) for command in next_commands(read_run(path))]
    *uses, (_, verb, *longer) = lines
    assert verb == "train"
    assert parse(Resume, longer, "visarch train") == Resume(resume=path, steps=600)
    assert {verb for _, verb, *_ in uses} >= {"sample", "evaluate", "reconstruct"}
    for _, verb, *arguments in uses:
        module, _, name = VERBS[verb].target.partition(":")
        asked = parse(getattr(import_module(module), name), arguments, f"visarch {verb}")
        assert asked.run == str(path)
