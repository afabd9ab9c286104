"""``--device``: a device that is here, or an answer."""

from __future__ import annotations

import pytest
import torch

from visarch.device import find_device
from visarch.errors import UserError


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
