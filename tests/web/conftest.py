"""Three runs on colored images, trained for as long as a page needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.hostile.page.served import Served, served
from visarch.cli import main

_FLAGS = {
    "classifier": "--block residual --depths 1 1 --widths 4 6 --learning-rate 0.1 --steps 40",
    "vae": "--latent-dim 10 --channels 8 --depth 1 --learning-rate 3e-3 --steps 20",
    "diffusion": "--widths 8 16 --num-groups 4 --context-dim 16 --sampling-steps 4 --steps 4",
}


class Runs(NamedTuple):
    """A run of each task, on the same images."""

    classifier: Path
    vae: Path
    diffusion: Path
    images: Path


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("web")
    for number in range(60):
        path = folder / "images" / ("red", "green", "blue")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 150, (12, 12, 3), dtype=np.uint8)
        pixels[..., number % 3] += 60
        Image.fromarray(pixels).save(path)
    trained = []
    for task, flags in _FLAGS.items():
        out = folder / "runs" / task
        shared = "--warmup-steps 2 --batch-size 16 --precision fp32 --device cpu --seed 5"
        command = ["train", task, "--data", str(folder / "images"), "--out", str(out)]
        assert main([*command, *flags.split(), *shared.split()]) == 0
        trained.append(out)
    return Runs(*trained, folder / "images")


@pytest.fixture
def show() -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Show runs for as long as one likes."""
    return served


@pytest.fixture(scope="session")
def page(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page of all three runs."""
    pytest.importorskip("gradio", reason="the page needs visarch[web]")
    folder = tmp_path_factory.mktemp("page")
    with served(folder, runs.classifier, runs.vae, runs.diffusion) as shown:
        yield shown
