"""Runs that are trained once, for as long as the verbs need, and the verbs as one types them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.cli import main


@dataclass(frozen=True)
class Trained:
    """A finished run, and what it was trained on."""

    path: Path
    data: str


def train(folder: Path, data: str, steps: int = 3) -> Trained:
    flags = (
        f"--latent-dim 8 --channels 8 --depth 1 --warmup-steps 5 --learning-rate 3e-3 --seed 5 "
        f"--batch-size 32 --steps {steps} --device cpu"
    )
    out = folder / "run"
    assert main(["train", "vae", "--data", data, "--out", str(out), *flags.split()]) == 0
    return Trained(out, data)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """On the embedded digits, long enough that the latents tell them apart."""
    return train(tmp_path_factory.mktemp("digits"), "digits", steps=30)


@pytest.fixture(scope="session")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """On continuous signals of two channels, between −10 and 10, with labels."""
    folder = tmp_path_factory.mktemp("signals")
    phases = np.random.default_rng(0).uniform(0, 6, (60, 2, 1))
    waves = 10 * np.sin(np.linspace(0, 9, 24) + phases)
    labels = (phases[:, 0, 0] > 3).astype(int)
    np.savez(folder / "waves.npz", signals=waves.astype(np.float32), labels=labels)
    return train(folder, str(folder / "waves.npz"))


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """On 8-bit volumes."""
    folder = tmp_path_factory.mktemp("volumes")
    values = np.random.default_rng(0).integers(0, 256, (80, 5, 6, 4), dtype=np.uint8)
    np.savez(folder / "blocks.npz", volumes=values)
    return train(folder, str(folder / "blocks.npz"))


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """On a folder of color images of two classes, among them one that cannot be read."""
    folder = tmp_path_factory.mktemp("colors")
    for number in range(60):
        path = folder / "images" / ("warm", "cold")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 128, (10, 14, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 128
        Image.fromarray(pixels).save(path)
    (folder / "images" / "warm" / "broken.png").write_text("no image")
    return train(folder, str(folder / "images"))


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A classifier of three shades of color in a folder, which it can nearly always tell apart."""
    folder = tmp_path_factory.mktemp("shades")
    for number in range(90):
        path = folder / "images" / ("red", "green", "blue")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 150, (10, 14, 3), dtype=np.uint8)
        pixels[..., number % 3] += 60
        Image.fromarray(pixels).save(path)
    flags = (
        "--block residual --depths 1 1 --widths 4 6 --warmup-steps 5 --learning-rate 0.1 "
        "--steps 80 --batch-size 16 --precision fp32 --device cpu"
    )
    data, out = str(folder / "images"), str(folder / "run")
    assert main(["train", "classifier", "--data", data, "--out", out, *flags.split()]) == 0
    return Trained(folder / "run", data)


def train_diffusion(folder: Path, data: str) -> Trained:
    flags = (
        "--widths 8 16 --num-groups 4 --context-dim 16 --sampling-steps 2 --warmup-steps 1 "
        "--batch-size 8 --steps 4 --seed 5 --precision fp32 --device cpu"
    )
    out = folder / "run"
    assert main(["train", "diffusion", "--data", data, "--out", str(out), *flags.split()]) == 0
    return Trained(out, data)


@pytest.fixture(scope="session")
def painter(shades: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Diffusion of colors, with the labels that the classifier `shades` knows."""
    return train_diffusion(tmp_path_factory.mktemp("painter"), shades.data)


@pytest.fixture(scope="session")
def radio(signals: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Diffusion of continuous signals with labels."""
    return train_diffusion(tmp_path_factory.mktemp("radio"), signals.data)


@pytest.fixture(scope="session")
def sculptor(volumes: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Diffusion of volumes of which nothing is known."""
    return train_diffusion(tmp_path_factory.mktemp("sculptor"), volumes.data)


@pytest.fixture(scope="session")
def pointer(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Diffusion of images with a vector each."""
    folder = tmp_path_factory.mktemp("pointer")
    random = np.random.default_rng(0)
    vectors = random.normal(3, 2, (40, 2)).astype(np.float32)
    images = random.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    np.savez(folder / "arrows.npz", images=images, vectors=vectors)
    return train_diffusion(folder, str(folder / "arrows.npz"))


@pytest.fixture(scope="session")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Diffusion of images whose classes are called 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("counter")
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    np.savez(folder / "numbers.npz", images=images, labels=1 + np.arange(40) % 3)
    return train_diffusion(folder, str(folder / "numbers.npz"))


@pytest.fixture(params=["digits", "signals", "volumes", "colors"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Each of the runs."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def visarch(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[str, str]]:
    """Type a command that works; gives what it says on stdout and on stderr."""

    def run(command: str) -> tuple[str, str]:
        capsys.readouterr()
        code = main(shlex.split(command))
        output, notes = capsys.readouterr()
        assert code == 0, notes
        return output, notes

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Type a command that does not; gives the paragraph that answers it."""

    def run(command: str) -> str:
        capsys.readouterr()
        assert main(shlex.split(command)) == 2
        output, complaint = capsys.readouterr()
        assert output == ""
        *_, answer = complaint.splitlines()  # notes on what was read may stand before it
        assert answer.startswith("visarch: ")
        assert "Traceback" not in complaint
        return answer

    return run
