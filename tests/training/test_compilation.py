"""Training with torch.compile learns what training without it does."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from tests.soak import commands
from visarch.cli import main

NEEDS_A_COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="there is no C++ compiler"
)


def losses(run: Path) -> list[float]:
    with open(run / "metrics.csv", encoding="utf-8", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.filterwarnings("ignore")  # torch's compiler uses what torch deprecates
@pytest.mark.parametrize(
    ("task", "compiler"),
    [
        pytest.param("vae", "inductor", marks=NEEDS_A_COMPILER),
        # traced and differentiated alike, in less time
        ("classifier", "aot_eager"),
        ("diffusion", "aot_eager"),
    ],
)
def test_compiled_training_learns_what_plain_training_does(
    task: str, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("visarch.training.devices._COMPILER", compiler)
    data = commands.images(tmp_path / "images.npz")
    curves, compiled = {}, torch._dynamo.utils.counters
    for flag in ("--no-compile", "--compile"):
        torch._dynamo.reset()
        compiled.clear()
        out = tmp_path / flag.strip("-")
        lengths = {"steps": 5, "sample_every": 0, "evaluate_every": 0, "checkpoint_every": 0}
        assert main([*commands.train(task, data, out, **lengths), flag]) == 0
        assert (compiled["frames"]["ok"] > 0) == (flag == "--compile")
        curves[flag] = losses(out)
    torch._dynamo.reset()
    assert len(curves["--compile"]) == 5
    assert curves["--compile"] == pytest.approx(curves["--no-compile"], rel=1e-4)
