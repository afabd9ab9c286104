"""Numbers that training cannot go on with: it skips them or stops with the reason, and what it
keeps is finite."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import visarch
from visarch.training.checkpoint import load_checkpoint
from visarch.training.trainer import Objective, Trainer

from .commands import TRAINING, refused, train, typed, write_images

NAN = float("nan")
STEPS = ["--steps", "30", "--max-bad-steps", "4", "--checkpoint-every", "1"]


@pytest.fixture
def data(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


def kept(run: Path) -> dict[str, Tensor]:
    """All tensors of the last checkpoint, which must be finite."""
    tensors = load_checkpoint(run / "checkpoints" / "last.safetensors").tensors
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    return tensors


def spoil_loss(trainer: Trainer, loss: Tensor) -> Tensor:
    return loss * NAN


def spoil_gradient(trainer: Trainer, loss: Tensor) -> Tensor:
    loss = loss * 1
    loss.register_hook(lambda gradient: gradient * float("inf"))
    return loss


def spoil_optimizer(trainer: Trainer, loss: Tensor) -> Tensor:
    for state in trainer._plain_optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.fill_(NAN)
    return loss


def spoiled(
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Trainer, Tensor], Tensor],
    at: Callable[[int], bool],
) -> None:
    """Have steps go wrong."""
    trainers: list[Trainer] = []
    step, forward = Trainer.step, Objective.forward

    def remembered(trainer: Trainer) -> dict[str, float]:
        trainers[:] = [trainer]
        return step(trainer)

    def altered(self: Objective, batch, noise):
        loss, terms = forward(self, batch, noise)
        return (spoil(trainers[0], loss) if at(noise.step) else loss), terms

    monkeypatch.setattr(Trainer, "step", remembered)
    monkeypatch.setattr(Objective, "forward", altered)


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient])
@pytest.mark.parametrize("task", TRAINING)
def test_one_bad_step_is_skipped_and_counted(task: str, spoil, data, tmp_path, monkeypatch):
    spoiled(monkeypatch, spoil, lambda step: step == 2)
    code, said = train(task, data, tmp_path / "run", "--steps", "6")
    assert code == 0, said
    assert "step 3  loss or gradient is not finite: the step is skipped" in said
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[-1]
    kept(tmp_path / "run")


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient])
@pytest.mark.parametrize("task", TRAINING)
def test_bad_steps_for_ever_end_it(task: str, spoil, data, tmp_path, monkeypatch):
    spoiled(monkeypatch, spoil, lambda step: step >= 2)
    code, said = train(task, data, tmp_path / "run", *STEPS)
    assert code == 1
    assert "Traceback" not in said
    *_, answer = said.splitlines()
    assert "not finite in 4 steps in a row, which changed nothing" in answer
    assert "checkpoints/last.safetensors" in answer
    kept(tmp_path / "run")


@pytest.mark.parametrize("task", TRAINING)
def test_a_spoiled_optimizer_is_never_kept(task: str, data, tmp_path, monkeypatch):
    spoiled(monkeypatch, spoil_optimizer, lambda step: step == 2)
    code, said = train(task, data, tmp_path / "run", *STEPS)
    assert code == 1
    *_, answer = said.splitlines()
    assert re.search(r"after step 3: an update .* made \S+ not finite\. Try a lower", answer)
    assert load_checkpoint(tmp_path / "run/checkpoints/last.safetensors").state["step"] == 2
    kept(tmp_path / "run")


@pytest.mark.parametrize("rate", ["1e4", "1e38", "1e300"])
@pytest.mark.parametrize("task", TRAINING)
def test_a_learning_rate_far_too_high(task: str, rate: str, data, tmp_path):
    run = tmp_path / "run"
    code, said = train(task, data, run, *STEPS, "--clip", "0", "--learning-rate", rate)
    assert code in (0, 1), said
    assert "Traceback" not in said
    if code:
        assert "a lower --learning-rate" in said.splitlines()[-1]
    kept(run)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("task", TRAINING)
def test_constant_images(task: str, value: int, tmp_path):
    path = tmp_path / "constant.npz"
    np.savez(path, images=np.full((24, 8, 8), value, np.uint8), labels=np.arange(24) % 2)
    code, said = train(task, path, tmp_path / "run", "--steps", "10")
    assert code == 0, said
    kept(tmp_path / "run")
    for name, metrics in json.loads((tmp_path / "run/evaluation.json").read_text())[
        "metrics"
    ].items():
        assert all(map(np.isfinite, metrics.values())), (name, metrics)


@pytest.mark.parametrize("sigma", ["constant", "learned", "predicted"])
def test_sigma_that_shrinks_towards_nothing(sigma: str, tmp_path):
    """Continuous images that are all the same have no smallest σ: the likelihood has no bound."""
    path = tmp_path / "same.npz"
    images = np.tile(np.linspace(0.1, 0.9, 64, dtype=np.float32).reshape(8, 8), (24, 1, 1))
    np.savez(path, images=images)
    run = tmp_path / "run"
    code, said = train("vae", path, run, *STEPS, "--learning-rate", "1", "--sigma", sigma)
    assert code in (0, 1), said
    assert "Traceback" not in said
    kept(run)


def test_a_collapsed_posterior_is_used_and_told_of(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "noise.npz"
    np.savez(path, images=random.integers(0, 256, (24, 8, 8), dtype=np.uint8))
    run = tmp_path / "run"
    code, said = train("vae", path, run, "--steps", "60", "--learning-rate", "0.1")
    assert code == 0, said
    for verb in (["sample", run], ["evaluate", run], ["report", run]):
        code, said = typed(*verb)
        assert code == 0, said


def test_nan_in_the_data_is_named_or_refused(tmp_path):
    images = np.random.default_rng(0).random((24, 8, 8)).astype(np.float32)
    images[3, 1, 1], images[5, 0, 0] = NAN, np.inf
    np.savez(tmp_path / "some.npz", images=images)
    code, said = train("vae", tmp_path / "some.npz", tmp_path / "run")
    assert code == 0, said
    assert "skipped images[3]: holds values that are NaN or infinite" in said
    assert "skipped images[5]" in said
    np.savez(tmp_path / "all.npz", images=np.full((24, 8, 8), NAN, np.float32))
    assert "at least one must be finite" in refused("train", "vae", "--data", tmp_path / "all.npz")


def test_infinite_weights_are_neither_kept_nor_started_from(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoiled(patch, spoil_optimizer, lambda step: step == 1)
        assert train("vae", data, run, *STEPS, "--checkpoint-every", "0")[0] == 1
    code, said = typed("train", "--resume", run, "--steps", "4")
    assert code == 0, said  # from the beginning, which is what was kept
    kept(run)

    model = visarch.load(run)
    torch.nn.init.constant_(model.decoder.f_mean.bias, NAN)
    model.save_pretrained(tmp_path / "spoilt")
    code, said = train("vae", data, tmp_path / "other", "--init", str(tmp_path / "spoilt"))
    assert code == 1
    assert "to start from: model.decoder.f_mean.bias is not finite" in said.splitlines()[-1]
