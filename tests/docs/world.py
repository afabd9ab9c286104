"""Where the commands of the pages can run: whatever they name is there, small and quickly made."""

from __future__ import annotations

import glob
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from tests.foreign.peers import PeerResNet, trained
from visarch.cli.import_weights import Import
from visarch.cli.train import TrainClassifier, TrainDiffusion, TrainVAE

CLASSES = ("cat", "dog")
_RUN = re.compile(r"(?:runs/)?\d{4}-(vae|classifier|diffusion)-(\w+)/?")
_PICTURE = re.compile(r"[\w./-]+\.(png|jpe?g)")

SHORT: dict[str, Any] = {
    "preset": None,
    "steps": 2,
    "epochs": None,
    "time": None,
    "batch_size": 8,
    "checkpoint_every": 0,
    "sample_every": 0,
    "evaluate_every": 0,
    "warmup_steps": 1,
    "device": "cpu",
    "precision": "fp32",
    "compile": False,
    "track": "none",
}
NETWORK: dict[type, dict[str, Any]] = {
    TrainVAE: {"latent_dim": 8, "channels": 8, "depth": 1},
    TrainClassifier: {"block": "residual", "depths": (1, 1), "widths": (4, 6)},
    TrainDiffusion: {
        "widths": (8, 16),
        "attends": (False, True),
        "num_groups": 4,
        "context_dim": 16,
    },
}
FEW = {"samples": 16, "images": 8, "times": 1, "count": 8, "steps": 2}
"""How much is measured or drawn, where a command leaves it open."""


def shortened(config: Any) -> Any:
    """The settings of a training, given every flag that it was given, for a moment's training."""
    short = dict(SHORT)
    if hasattr(config, "sampling_steps"):
        short["sampling_steps"] = 2
    if not config.init:  # it takes on the network that it starts from
        network = {
            key: value
            for key, value in NETWORK[type(config)].items()
            if key in {field.name for field in fields(config.model)}
        }
        short["model"] = replace(config.model, **network)
    return replace(config, **short)


def reduced(verb: Any) -> Any:
    """A verb on a diffusion run that measures or draws only a little, where that was left open."""
    if "-diffusion-" not in str(getattr(verb, "run", "")):
        return verb
    few = {
        field.name: FEW[field.name]
        for field in fields(verb)
        if field.name in FEW and getattr(verb, field.name) == field.default
    }
    return replace(verb, **few)


class World:
    """A folder in which what a command or a program names is made when it is first named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._num_runs = 0

    def provide(self, word: str) -> str:
        """Make what a word names, if it is a run, a picture or a folder of pictures."""
        if run := _RUN.fullmatch(word):
            self._run(run[1], "digits" if run[2] == "digits" else "photos", self.folder / word)
        elif _PICTURE.fullmatch(word):
            if len(Path(word).parts) == 3:  # photos/cat/1.jpg: one of those in photos/
                self._photos(self.folder / Path(word).parts[0])
            draw(self.folder / word, seed=len(word))
        elif re.fullmatch(r"[a-z][\w-]*/", word):
            self._photos(self.folder / word)
        elif exported := re.fullmatch(r"(classifier|sampler)\.(onnx|pt2)", word):
            if not (self.folder / word).exists():
                self._export(exported[1], {"onnx": "onnx", "pt2": "torch"}[exported[2]])
        elif word == "resnet50-timm":
            self._import(self.folder / word)
        return word

    def provide_data(self, source: str) -> None:
        """Make what is given as `--data`."""
        if source != "digits" and not re.search(r"[.:]", source):
            self._photos(self.folder / source)

    def expand(self, word: str) -> list[str]:
        """The files that a pattern stands for, as a shell finds them, or the word itself."""
        if not re.search(r"[*?]", word):
            return [word]
        for task in ("classifier", "diffusion", "vae"):
            self._run(task, "photos", self.folder / f"runs/0001-{task}-photos")
        return sorted(glob.glob(word, root_dir=self.folder)) or [word]

    def new_run(self) -> str:
        """A run folder that no other command goes on with."""
        self._num_runs += 1
        return str(self.folder / "trained" / f"command-{self._num_runs}")

    def _photos(self, folder: Path) -> None:
        for number in range(160):
            draw(folder / CLASSES[number % 2] / f"{number // 2}.jpg", seed=number)

    def _run(self, task: str, data: str, path: Path) -> None:
        """A run by this name: one is trained for each task and data, and linked to."""
        if path.exists():
            return
        trained = self.folder / "trained" / f"{task}-{data}"
        if not trained.exists():
            source = data
            if data == "photos":
                source = str(self.folder / "photos")
                self._photos(self.folder / "photos")
            config = _TRAIN[task](data=source, out=str(trained))
            assert shortened(config).main() in (0, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(trained)

    def _export(self, graph: str, kind: str) -> None:
        """Beside the program that opens it; by a process of its own, where shapes are not checked,
        which cannot be traced."""
        task = {"classifier": "classifier", "sampler": "diffusion"}[graph]
        run = self.provide(f"runs/0001-{task}-digits")
        few = ["--steps", "2"] if task == "diffusion" else []
        command = [sys.executable, "-m", "visarch", "export", run, "--format", kind, *few]
        (self.folder / "labels.txt").unlink(missing_ok=True)  # those of another graph
        subprocess.run([*command, "--out", "."], check=True, cwd=self.folder)

    def _import(self, folder: Path) -> None:
        if folder.exists():
            return
        weights = folder.with_suffix(".safetensors")
        save_file(dict(trained(PeerResNet(18, classes=3, width=8)).state_dict()), weights)
        Import(weights, "timm", folder, image_size=(32, 32)).main()


_TRAIN = {"vae": TrainVAE, "classifier": TrainClassifier, "diffusion": TrainDiffusion}


def draw(path: Path, seed: int) -> None:
    """A small picture, if it is not there: a square, redder in every other one, on noise."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    pixels[4:12, 4:12] = (200 * (seed % 2), 90, 40)
    Image.fromarray(pixels).save(path)
