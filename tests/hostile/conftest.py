"""Runs of the three tasks, trained once for all the commands that need some."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .commands import make_runs


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of each task, which no test changes."""
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))
