"""Threads that wait for each other soon give their core away."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="torch comes with GNU's OpenMP on Linux")
@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, 3000),
        ({"GOMP_SPINCOUNT": "7"}, 7),
        ({"OMP_WAIT_POLICY": "passive"}, 0),
    ],
)
def test_what_openmp_is_told(given: dict[str, str], spins: int):
    """By what it says itself when it is loaded."""
    own = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    said = subprocess.run(
        [sys.executable, "-m", "visarch", "describe", "resnet18", "--quiet"],
        env={**own, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in said
