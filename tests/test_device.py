"""``--device``: a device that is here, or an answer."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
import torch

from visarch.device import as_launched, find_device
from visarch.errors import UserError
from visarch.training.config import TrainConfig
from visarch.training.devices import make_accelerator, processes


def test_the_cpu_is_always_here():
    assert find_device("cpu") == torch.device("cpu")


def test_auto_is_the_accelerator_or_else_the_cpu(monkeypatch):
    for found in (torch.device("cuda"), None):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda found=found: found)
        assert find_device("auto") == (found or torch.device("cpu"))


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu", "meta", ""])
def test_what_is_not_here_is_answered_with_what_is(name: str):
    with pytest.raises(
        UserError, match=rf"--device {name} is not to be had here; there is cpu.*auto"
    ):
        find_device(name)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ACCELERATE_USE_CPU", "maybe", "invalid truth value maybe"),
        ("WORLD_SIZE", "2", "MASTER_ADDR"),
        ("LOCAL_RANK", "x", "invalid literal"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed is not installed"),
    ],
)
def test_an_environment_that_no_launcher_made(name, value, said, tmp_path):
    config = TrainConfig(data="digits", device="cpu")
    with (
        patch.dict(os.environ, {name: value}),  # which takes away what Accelerate sets there
        pytest.raises(UserError, match=rf"{said}.* It sets .*{name}"),
    ):
        make_accelerator(config, processes(config), tmp_path, low_precision=False, num_samples=1)


def test_what_the_environment_has_no_part_in_is_left_alone(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(ValueError, match="a defect"), as_launched():
        raise ValueError("a defect")
