"""From settings to a finished run: presets, weights to start from, and the dry run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import visarch
from visarch.errors import UserError
from visarch.models.config import VAEHyperparameters
from visarch.training.config import from_mapping, to_yaml, with_preset
from visarch.training.vae import VAETrainConfig, train_vae

SMALL = VAEHyperparameters(latent_dim=4, channels=8, depth=1)


def config(tmp_path: Path, **changes) -> VAETrainConfig:
    plain = VAETrainConfig(
        data="digits",
        out=str(tmp_path / "run"),
        steps=2,
        batch_size=8,
        device="cpu",
        initialization="random",
        sample_every=0,
        model=SMALL,
    )
    return replace(plain, **changes)


# Presets.


def test_a_preset_sets_what_was_left_at_its_default():
    settings, reasons = with_preset(VAETrainConfig(data="digits", preset="literal"))
    assert (settings.model.patch_size, settings.model.channels) == (1, 16)
    assert ("patch size", "1", "preset literal") in reasons


def test_what_is_given_goes_before_a_preset_and_twice_is_once():
    given = VAETrainConfig(data="x", preset="literal", model=VAEHyperparameters(channels=24))
    settings, reasons = with_preset(given)
    assert (settings.model.channels, settings.model.depth) == (24, 1)
    assert not any(name == "channels" for name, _, _ in reasons)
    assert with_preset(settings) == (settings, [])


def test_without_a_preset_nothing_changes():
    settings = VAETrainConfig(data="x")
    assert with_preset(settings) == (settings, [])


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(UserError, match=r"--preset huge is not known; there is: literal"):
        VAETrainConfig(data="x", preset="huge")


def test_a_preset_s_settings_come_back_from_yaml():
    import yaml

    settings, _ = with_preset(VAETrainConfig(data="x", preset="literal"))
    read = from_mapping(VAETrainConfig, yaml.safe_load(to_yaml(settings)), place="here")
    assert read == settings
    assert with_preset(read) == (settings, [])


# Weights to start from.


def test_training_starts_from_the_weights_of_another_run(tmp_path: Path, capsys):
    assert train_vae(config(tmp_path)) == 0
    first = str(tmp_path / "run")
    capsys.readouterr()
    still = config(tmp_path, init=first, learning_rate=1e-30, weight_decay=0.0, steps=1)
    assert train_vae(replace(still, out=str(tmp_path / "more"), seed=9)) == 0
    assert f"first weights: {first} (all of its weights fit)" in capsys.readouterr().out
    before = dict(visarch.load(first).named_parameters())
    after = dict(visarch.load(tmp_path / "more").named_parameters())
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, msg=name)


def test_what_does_not_fit_starts_anew_and_is_said(tmp_path: Path, capsys):
    deep = replace(SMALL, depth=6)
    assert train_vae(config(tmp_path, model=deep)) == 0
    first, second = str(tmp_path / "run"), str(tmp_path / "wider")
    wider = config(tmp_path, init=first, out=second, model=replace(deep, latent_dim=5))
    capsys.readouterr()
    assert train_vae(wider) == 0
    said = capsys.readouterr().out
    assert "tensors fit" in said
    assert "start anew" in said


def test_another_model_is_refused(tmp_path: Path):
    assert train_vae(config(tmp_path)) == 0
    other = replace(SMALL, channels=12)
    with pytest.raises(UserError, match=r"--init .*Give the network the settings"):
        train_vae(config(tmp_path, init=str(tmp_path / "run"), out=None, model=other))


# The dry run.


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_vae(config(tmp_path, out=None, dry_run=True, steps=1000)) == 0
    assert os.listdir(tmp_path) == []
    said = capsys.readouterr().out
    for words in (
        "patch size: 4 (",
        "latent_dim: 4",
        "Parameters: ",
        "MACs: ",
        "Memory: ",
        "Checkpoints: ",
        "steps/s",
        "1,000 steps in about",
        "nothing was written",
    ):
        assert words in said


def test_a_dry_run_of_a_time_says_about_how_many_steps_fit(tmp_path: Path, capsys):
    assert train_vae(config(tmp_path, dry_run=True, steps=None, time="10m")) == 0
    assert "steps in 10m" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
