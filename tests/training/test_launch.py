"""From settings to a finished run: presets, weights to start from, and the dry run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import visarch
from visarch.errors import UserError
from visarch.models.config import VAEHyperparameters
from visarch.training import dry_run
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.config import from_mapping, to_yaml, with_preset
from visarch.training.devices import make_accelerator
from visarch.training.diffusion import DiffusionTrainConfig
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
    assert settings.model.patch_size == 1
    assert ("patch size", "1", "preset literal") in reasons


def test_what_is_given_goes_before_a_preset_and_twice_is_once():
    given = VAETrainConfig(data="x", preset="literal", model=VAEHyperparameters(patch_size=2))
    assert with_preset(given) == (given, [])
    settings, _ = with_preset(VAETrainConfig(data="x", preset="literal"))
    assert with_preset(settings) == (settings, [])


@pytest.mark.parametrize("kind", [VAETrainConfig, ClassifierTrainConfig, DiffusionTrainConfig])
def test_presets_set_only_what_is_open_so_that_nothing_given_is_overruled(kind):
    """A value that was given and equals a default cannot be told from one that was not given."""

    def check(config, settings):
        defaults = {field.name: field.default for field in fields(config)}
        for name, value in settings.items():
            if isinstance(value, Mapping):
                check(getattr(config, name), value)
            else:
                assert defaults[name] in (None, 0), name

    assert kind.PRESETS
    for settings in kind.PRESETS.values():
        check(kind(data="x"), settings)


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


def test_a_dry_run_begins_no_run_of_a_tracker(tmp_path: Path, monkeypatch, capsys):
    tracked = []

    def watched(config, *arguments, **keywords):
        tracked.append(config.track)
        return make_accelerator(config, *arguments, **keywords)

    monkeypatch.setattr(dry_run, "make_accelerator", watched)
    monkeypatch.setattr(  # as if it were installed
        "importlib.util.find_spec",
        lambda name, *rest, find=find_spec: name if name == "wandb" else find(name, *rest),
    )
    assert train_vae(config(tmp_path, dry_run=True, track="wandb")) == 0
    assert tracked == ["none"]
    assert "track: wandb" in capsys.readouterr().out


def test_a_dry_run_of_a_time_says_about_how_many_steps_fit(tmp_path: Path, capsys):
    assert train_vae(config(tmp_path, dry_run=True, steps=None, time="10m")) == 0
    assert "steps in 10m" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
