"""Training a Gaussian VAE, from its settings to a finished run folder."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import visarch
from visarch.data import open_data
from visarch.errors import UserError
from visarch.models.config import VAEHyperparameters
from visarch.training.checkpoint import load_checkpoint, save_checkpoint
from visarch.training.guard import NonFiniteError
from visarch.training.vae import VAETrainConfig, train_vae

SMALL = VAEHyperparameters(latent_dim=4, channels=16, inner_channels=4, depth=1)


@pytest.fixture
def settings(tmp_path: Path) -> VAETrainConfig:
    return VAETrainConfig(
        data=str(tmp_path / "images.npz"),
        out=str(tmp_path / "run"),
        steps=6,
        batch_size=8,
        warmup_steps=2,
        decay="constant",
        checkpoint_every=2,
        log_every=1,
        model=SMALL,
    )


@pytest.fixture(autouse=True)
def images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path, rng.integers(0, 256, (40, 9, 7), dtype=np.uint8), "images")


def write(folder: Path, array: np.ndarray, key: str) -> None:
    np.savez(folder / "images.npz", **{key: array})


def weights(run: Path) -> dict[str, bytes]:
    """The finished model and the state of training, byte for byte."""
    files = [run / "model" / "model.safetensors", run / "checkpoints" / "last.safetensors"]
    return {file.name: file.read_bytes() for file in files}


VARIANTS = {
    "constant σ": {"sigma": "constant", "initial_sigma": 0.3},
    "learned σ": {"sigma": "learned"},
    "full covariance": {"covariance": "full"},
    "bottleneck": {"block": "bottleneck"},
    "patch of one": {"patch_size": 1},
    "too few channels for PCA": {"patch_size": 8},
    "dropout": {"dropout": 0.3},
    "even window": {"kernel_size": 2},
    "no blocks": {"depth": 0},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_trains_to_a_finished_run(variant, settings: VAETrainConfig):
    assert train_vae(replace(settings, model=replace(SMALL, **variant))) == 0
    run = Path(settings.out or "")
    found = json.loads((run / "evaluation.json").read_text())["metrics"]["validation"]
    assert all(math.isfinite(value) for value in found.values())
    assert found["ELBO"] == pytest.approx(found["reconstruction"] - found["KL"], rel=1e-5)
    per_dim = -found["ELBO"] / (63 * math.log(2)) + 8
    assert found["bits/dim"] == pytest.approx(per_dim, rel=1e-5)
    assert (run / "report.html").stat().st_size > 10_000
    assert visarch.load(run).config.image_shape == (1, 9, 7)


@pytest.mark.parametrize(
    ("shape", "key"),
    [((30, 2, 11), "signals"), ((30, 3, 5, 6, 4), "volumes"), ((30, 5, 12, 9), "images")],
    ids=["signals", "volumes", "five channels"],
)
def test_signals_and_volumes(shape, key: str, settings: VAETrainConfig, tmp_path: Path):
    write(tmp_path, np.random.default_rng(0).random(shape, dtype=np.float32), key)
    data = open_data(settings.data)
    assert train_vae(settings) == 0
    model = visarch.load(Path(settings.out or ""))
    mean, _ = model.decode(torch.zeros(2, 4))
    assert mean.shape == (2, *data.shape)


def test_it_learns(settings: VAETrainConfig):
    """On images that two numbers explain, the bound rises far above where it started."""
    rng = np.random.default_rng(0)
    row, column = rng.random((2, 200, 1, 1))
    plane = row * np.linspace(0, 1, 9)[:, None] * 0.5 + column * np.linspace(0, 1, 7) * 0.5
    write(Path(settings.data).parent, (plane * 255).astype(np.uint8), "images")
    config = replace(settings, steps=60, initialization="random", learning_rate=3e-3)
    assert train_vae(config) == 0
    lines = (Path(config.out or "") / "metrics.csv").read_text().splitlines()
    column_of = lines[0].split(",").index("nats/dim")
    values = [float(line.split(",")[column_of]) for line in lines[1:-1]]
    assert np.mean(values[-5:]) < np.mean(values[:5]) - 0.5


def test_going_on_is_as_if_it_had_never_stopped(settings: VAETrainConfig, tmp_path: Path):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    train_vae(replace(settings, out=whole, steps=10))
    train_vae(replace(settings, out=parts, steps=6))
    train_vae(replace(settings, out=parts, steps=10))
    assert weights(Path(whole)) == weights(Path(parts))


def test_a_bad_step_changes_nothing(settings: VAETrainConfig, monkeypatch):
    """With nothing but bad steps, what is kept is what training began with."""
    from visarch.training import vae_task

    def poisoned(images, levels, uniform):
        return torch.full(images.shape, float("nan"))

    train_vae(replace(settings, steps=3))
    run = Path(settings.out or "")
    before = load_checkpoint(run / "checkpoints" / "last.safetensors").tensors
    monkeypatch.setattr(vae_task, "dequantize", poisoned)
    with pytest.raises(NonFiniteError, match="was not finite in 2 steps in a row"):
        train_vae(replace(settings, steps=9, max_bad_steps=2))
    after = load_checkpoint(run / "checkpoints" / "last.safetensors").tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_collapsed_posterior_is_told(settings: VAETrainConfig, capsys):
    """Constant images need no latents at all."""
    write(Path(settings.data).parent, np.full((30, 6, 6), 100, np.uint8), "images")
    assert train_vae(settings) == 0
    told = capsys.readouterr().out
    assert "posterior has collapsed" in told
    assert "--kl-warmup-steps" in told


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"initial_sigma": 0.05}, r"--initial-sigma is 0.05.*--initialization random"),
        ({"initial_scale": 0.5, "sigma": "constant"}, r"--initial-scale is 0.5.*leave it out"),
    ],
)
def test_what_the_start_at_pca_would_overrule_is_refused(changes, answer: str):
    with pytest.raises(UserError, match=answer):
        VAETrainConfig(data="digits", model=replace(SMALL, **changes))
    free = VAETrainConfig(data="digits", initialization="random", model=replace(SMALL, **changes))
    assert free.model == replace(SMALL, **changes)


def test_a_device_that_is_not_there_is_told_before_the_data_is_read(settings, capsys):
    with pytest.raises(UserError, match="cuda:99"):
        train_vae(replace(settings, data="no such data", device="cuda:99"))


def test_a_checkpoint_without_its_settings_is_not_gone_on_with(settings: VAETrainConfig):
    train_vae(replace(settings, steps=2))
    last = Path(settings.out or "") / "checkpoints" / "last.safetensors"
    tensors, state = load_checkpoint(last)
    del state["settings"]
    save_checkpoint(last, tensors, state)
    with pytest.raises(UserError, match="does not hold the settings"):
        train_vae(replace(settings, steps=4))
