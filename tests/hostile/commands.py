"""Commands on three tiny runs, and what may come of them whatever is asked."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from visarch.cli import main

SHORT = "--steps 2 --batch-size 4 --warmup-steps 1 --device cpu --log-every 1"
TRAINING = {
    "vae": f"{SHORT} --latent-dim 2 --channels 4 --depth 1",
    "classifier": f"{SHORT} --block residual --depths 1 --widths 4",
    "diffusion": f"{SHORT} --widths 4 8 --num-groups 2 --context-dim 16 --sampling-steps 2",
}
"""Flags that make a run of each task so small that it takes no time."""


class TookTooLong(BaseException):
    """A command was stopped: what was asked for is large, and nobody forbade it."""


def write_images(path: Path, count: int = 24) -> Path:
    """Images of two classes and their labels, in an .npz."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = random.integers(0, 128, (count, 8, 8), dtype=np.uint8) + 120 * labels[:, None, None]
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def make_runs(folder: Path) -> Path:
    """A finished run of each task in a folder, beside their images and a picture of that size."""
    data = write_images(folder / "images.npz")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "image.png")
    for task in TRAINING:
        code, said = train(task, data, folder / task)
        assert code == 0, said
    return folder


def train(task: str, data: Path | str, out: Path | str, *more: str) -> tuple[int, str]:
    """Train one of the tiny runs."""
    return typed("train", task, "--data", data, "--out", out, *TRAINING[task].split(), *more)


def typed(*arguments: object, seconds: int = 0) -> tuple[int, str]:
    """The exit code of a command, and all that it said, on both streams.

    Whatever is not answered by visarch itself is raised here; after `seconds`, if they are given,
    `TookTooLong` is.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), _within(seconds):
        code = main([str(argument) for argument in arguments])
    return code, said.getvalue()


def refused(*arguments: object, code: int = 2) -> str:
    """The one paragraph that answers a command which cannot be carried out."""
    found, said = typed(*arguments)
    assert found == code, said
    assert "Traceback" not in said
    *_, answer = said.splitlines()
    assert answer.startswith("visarch: "), said
    return answer


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In another current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def commands(runs: Path) -> dict[str, Sequence[str]]:
    """Each verb with what it needs to work, on the runs in a folder."""
    data = str(runs / "images.npz")
    trains = {
        f"train {task}": ["train", task, "--data", data, *flags.split()]
        for task, flags in TRAINING.items()
    }
    image = str(runs / "image.png")
    vae, classifier, diffusion = (str(runs / task) for task in TRAINING)
    return {
        **trains,
        "train --resume": ["train", "--resume", vae],
        "evaluate": ["evaluate", vae],
        "evaluate classifier": ["evaluate", classifier],
        "evaluate diffusion": ["evaluate", diffusion, "--images", "2", "--times", "2"],
        "report": ["report", vae],
        "predict": ["predict", classifier, image],
        "sample": ["sample", vae],
        "sample diffusion": ["sample", diffusion, "-n", "2"],
        "reconstruct": ["reconstruct", vae, image],
        "interpolate": ["interpolate", vae, image, image, "--steps", "3"],
        "interpolate diffusion": ["interpolate", diffusion, "seed:0", "seed:1", "--steps", "3"],
        "embed": ["embed", classifier, data],
        "check": ["check", data],
        "describe": ["describe", vae],
        "verify": ["verify", "--only", "Fact 1.4", "--cases", "1"],
        "bench": ["bench", "--list"],
    }
