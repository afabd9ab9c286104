"""``visarch train``: which config reaches the training, from flags and from a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import visarch.training.vae
from visarch.cli import main
from visarch.cli.train import TrainVAE
from visarch.training.config import to_yaml


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainVAE]:
    """The configs that would have been trained, instead of training."""
    configs: list[TrainVAE] = []
    monkeypatch.setattr(visarch.training.vae, "train_vae", configs.append)
    return configs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with settings that are not the defaults."""
    config = TrainVAE(data="digits", steps=100, learning_rate=3e-4, batch_size=16, seed=7)
    (tmp_path / "config.yaml").write_text(to_yaml(config, task="vae"))
    return tmp_path


def test_flags_make_the_config(trained):
    assert main(["train", "vae", "--data", "digits", "--steps", "5", "--batch-size", "8"]) == 0
    assert trained == [TrainVAE(data="digits", steps=5, batch_size=8)]


def test_data_is_all_that_must_be_said(trained, capsys):
    assert main(["train", "vae"]) == 2
    assert "--data" in capsys.readouterr().err
    assert not trained


def test_a_value_out_of_range_is_answered_before_training(trained, capsys):
    assert main(["train", "vae", "--data", "digits", "--batch-size", "0"]) == 2
    assert capsys.readouterr().err == "visarch: --batch-size is 0; it must be at least 1.\n"
    assert not trained


@pytest.mark.parametrize("form", ["--resume {}", "--resume={}"])
def test_resume_takes_the_settings_of_the_run(form, run, trained):
    assert main(["train", *form.format(run).split()]) == 0
    assert trained == [
        TrainVAE(data="digits", out=str(run), steps=100, learning_rate=3e-4, batch_size=16, seed=7)
    ]


def test_resume_with_a_new_length_replaces_the_old(run, trained):
    assert main(["train", "--epochs", "2", "--resume", str(run)]) == 0
    assert (trained[0].steps, trained[0].epochs) == (None, 2)


def test_resume_of_what_is_no_run(tmp_path, trained, capsys):
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a run folder" in capsys.readouterr().err


def test_resume_of_an_unknown_task(run, trained, capsys):
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("task: vae", "task: juggling"))
    assert main(["train", "--resume", str(run)]) == 2
    assert "task 'juggling'; this version of visarch trains vae" in capsys.readouterr().err


def test_resume_with_a_setting_of_another_version(run, trained, capsys):
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("batch_size:", "batchsize:"))
    assert main(["train", "--resume", str(run)]) == 2
    assert "'batchsize'" in capsys.readouterr().err
    assert not trained
