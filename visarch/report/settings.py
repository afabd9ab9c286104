"""The settings of a run beside their defaults, and the commands that follow from them."""

import shlex
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import yaml

from visarch.report.run import Run
from visarch.training.config import to_yaml, with_preset

_CONFIGS = {
    "vae": "visarch.training.vae:VAETrainConfig",
    "classifier": "visarch.training.classifier:ClassifierTrainConfig",
    "diffusion": "visarch.training.diffusion:DiffusionTrainConfig",
}
"""Where the settings of a task and their defaults are defined."""
_LENGTHS = ("steps", "epochs", "time")


class Setting(NamedTuple):
    """One setting, nested ones by their dotted name."""

    name: str
    value: Any
    default: Any
    """What it is if it is not given."""

    @property
    def differs(self) -> bool:
        """Whether the run departs from the default."""
        return bool(self.value != self.default)


class Command(NamedTuple):
    """A command line and what it is for."""

    line: str
    purpose: str


def settings(run: Run) -> list[Setting]:
    """Every setting of a run, in the order of config.yaml; for a task that this version does not
    know, as if nothing were set by default."""
    defaults = _defaults(run.task)
    return [Setting(name, value, defaults.get(name)) for name, value in _flat(run.config)]


def reproduce(run: Run) -> str | None:
    """The command that trains the same model again, in a new run folder; None where the task is not
    known to this version.

    A length in time becomes the number of steps that it came to, which another machine would find
    to be different. What a preset sets is not said again.
    """
    if run.task not in _CONFIGS:
        return None
    unsaid = _defaults(run.task, run.config.get("preset")) | {"out": run.config.get("out")}
    unsaid["preset"] = None
    every = {s.name: s.value for s in settings(run) if s.value is not None}
    given = {name: value for name, value in every.items() if value != unsaid.get(name)}
    if "time" in given and run.total_steps:
        given = {name: value for name, value in given.items() if name not in _LENGTHS}
        given["steps"] = run.total_steps
    words = ["visarch", "train", run.task]
    for name, value in given.items():
        flag = name.rpartition(".")[2].replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def next_commands(run: Run) -> list[Command]:
    """What can be done with a run now."""
    path = shlex.quote(str(run.path))
    resume = f"visarch train --resume {path}"
    if not run.finished:
        return [Command(resume, "go on with the training exactly where it stopped")]
    longer = Command(f"{resume} --steps {2 * run.step}", "train twice as long, from where it ended")
    uses = _USES[run.task](path) if run.task in _USES else []
    return [*uses, longer]


def _uses_of_vae(path: str) -> list[Command]:
    return [
        Command(f"visarch sample {path} -n 64", "draw new images"),
        Command(f"visarch evaluate {path}", "measure the model again, by a tighter bound as well"),
        Command(f"visarch reconstruct {path}", "see held-out images beside reconstructions"),
        Command(f"visarch interpolate {path} 0 1", "walk from one held-out image to another"),
        Command(f"visarch embed {path}", "write the latent vector of every image"),
    ]


def _uses_of_classifier(path: str) -> list[Command]:
    return [
        Command(
            f"visarch predict {path}", "name classes: of held-out images, or of files of yours"
        ),
        Command(f"visarch evaluate {path}", "measure the model again, class by class"),
        Command(f"visarch embed {path}", "write the feature vector of every image"),
    ]


def _uses_of_diffusion(path: str) -> list[Command]:
    return [
        Command(f"visarch sample {path} -n 64", "draw new images"),
        Command(f"visarch evaluate {path}", "measure the model again, by noise level as well"),
        Command(f"visarch interpolate {path} 0 1", "walk from one held-out image to another"),
    ]


_USES = {
    "vae": _uses_of_vae,
    "classifier": _uses_of_classifier,
    "diffusion": _uses_of_diffusion,
}
"""What a finished run of a task can be used for."""


def _defaults(task: str, preset: Any = None) -> dict[str, Any]:
    """A task's settings where nothing but a preset is given, not even the data."""
    if task not in _CONFIGS:
        return {}
    module, _, name = _CONFIGS[task].partition(":")
    kind = getattr(import_module(module), name)
    known = preset if preset in list(kind.PRESETS) else None
    config, _ = with_preset(kind(data="", preset=known))
    return dict(_flat(yaml.safe_load(to_yaml(config)))) | {"data": None}


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings side by side."""
    pairs: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs
