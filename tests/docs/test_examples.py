"""The examples run as their first lines say, given fewer steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from tests.docs.pages import ROOT
from visarch.data import open_data
from visarch.training.randomness import StepNoise

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_it_is_run(path: Path):
    assert f"python examples/{path.name}\n" in path.read_text()
    assert path.stem in {"custom_data", "custom_objective", "latent_diffusion"}


def test_custom_data(capsys: pytest.CaptureFixture[str]):
    accuracy = load("custom_data").main(steps=100)
    assert accuracy > 0.6
    assert "step 100: loss" in capsys.readouterr().out


def test_custom_objective(capsys: pytest.CaptureFixture[str]):
    path = load("custom_objective").main(steps=3)
    assert (path / "report.html").exists() or (path / "metrics.csv").exists()
    assert list((path / "samples").rglob("*.png"))
    assert (path / "model" / "model.safetensors").exists()
    assert "Mean squared error" in capsys.readouterr().out


def test_what_is_covered_is_a_square_that_the_network_does_not_see():
    example = load("custom_objective")
    x = torch.rand(3, 1, 28, 28)
    hidden = example.squares(torch.tensor([[0, 0], [16, 16], [3, 9]]), x)
    assert hidden.sum((1, 2, 3)).tolist() == [example.SIDE**2] * 3
    seen = []

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    for images in (x, torch.where(hidden, torch.rand_like(x), x)):
        example.fill(network, images, hidden)
    assert torch.equal(*seen)


def test_the_error_is_that_of_the_covered_part():
    example = load("custom_objective")
    data = open_data("digits")
    split = data.splits["validation"].take("few", range(6))

    def gray(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    error = example.Filling(data.levels).evaluate(gray, split, StepNoise(0, 0, 6))["error"]
    assert 0.1 < error <= 0.25  # of pixels that are 0 or 1, mostly, to 0.5


def test_latent_diffusion(capsys: pytest.CaptureFixture[str]):
    picture = load("latent_diffusion").main(vae_steps=2, steps=2)
    with Image.open(picture) as image:
        width, height = image.size
    assert width > 2 * height - 40
    assert "diffusion over latents" in capsys.readouterr().out
