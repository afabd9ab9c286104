"""What every test starts from: one seed, one thread, pictures without a screen."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # most tensors here are too small to share out
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on the network

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Properties are tried on the same examples everywhere; how long one takes says nothing.
settings.register_profile("visarch", derandomize=True, deadline=None, database=None)
settings.load_profile("visarch")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def as_for_users() -> Iterator[None]:
    """Without the types being checked, as they are in tests alone: a mistake meets our answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
