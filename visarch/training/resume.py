"""Whether a run can go on as asked, and for how many steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from visarch.errors import UserError
from visarch.training.config import (
    MAY_CHANGE,
    TrainConfig,
    differences,
    from_mapping,
    seconds_of,
    to_yaml,
)
from visarch.training.length import planned_steps
from visarch.training.runfolder import CONFIG, METRICS, read_config

Config = TypeVar("Config", bound=TrainConfig)


def last_checkpoint(path: Path) -> Path | None:
    """The checkpoint that the run at `path` goes on from; None if it has yet to begin.

    Raises:
        UserError: it began, but its checkpoint is gone: no reason to begin again unasked.
    """
    last = path / "checkpoints" / "last.safetensors"
    if last.exists():
        return last
    if (path / METRICS).exists() or last.with_name("best.safetensors").exists():
        raise UserError(
            f"{path} has trained already, but its {last.relative_to(path)} is gone. Bring it back "
            "(a copy of best.safetensors beside it will do, if there is one), or give another "
            "--out to begin again."
        )
    return None


def has_begun(config: TrainConfig) -> bool:
    """Whether these settings go on with a run: its weights come from its checkpoint then, and
    whatever it was started from may be gone."""
    return config.out is not None and last_checkpoint(Path(config.out)) is not None


def settings_of_begun(config: Config) -> Config | None:
    """The settings so far of the run that these go on with; None if it has yet to begin.

    Raises:
        UserError: it is a run of another task.
    """
    if config.out is None or not has_begun(config):
        return None
    saved = {name: value for name, value in read_config(Path(config.out)).items() if name != "task"}
    return from_mapping(type(config), saved, place=str(Path(config.out) / CONFIG))


def check_same_run(
    path: Path, state: Mapping[str, Any], config: TrainConfig, task: str, fingerprint: str
) -> TrainConfig:
    """The settings that the run at `path` had so far, if it can go on with `config`.

    Raises:
        UserError: task, data, or a setting that steps depend on differs; names what.
    """
    saved = read_config(path)
    saved_task = saved.pop("task", None)
    if saved_task != task:
        raise UserError(
            f"{path} is a {saved_task} run, and this asks for {task}; give another --out."
        )
    before = from_mapping(type(config), saved, place=str(path / CONFIG))
    # by the checkpoint, not by config.yaml, which somebody may have edited since
    if "settings" not in state:
        raise UserError(
            f"The checkpoint of {path} does not hold the settings it was made with, so that it "
            "cannot be gone on with: give another --out."
        )
    settings = state["settings"] | {"data": config.data}
    begun = from_mapping(type(config), settings, place=f"{path}'s checkpoint")
    changed = differences(fixed_settings(begun), fixed_settings(config))
    if changed:
        raise UserError(
            f"{path} was begun with other settings: {', '.join(changed)}. A run goes on only with "
            "the settings it began with (its length, and what it reports, may change); give those, "
            "or another --out."
        )
    if state["fingerprint"] != fingerprint:
        raise UserError(
            f"{path} was begun on other images than {config.data} holds now (their fingerprints "
            "differ). Bring those back, or give another --out to train on these."
        )
    return before


def settled_steps(
    config: TrainConfig, before: TrainConfig | None, num_samples: int, done: int, total: int | None
) -> int | None:
    """How many steps the run has; None if a time budget must be measured first.

    Args:
        config: the settings now.
        before: the settings so far; None for a new run.
        num_samples: training images.
        done: steps done so far.
        total: steps the run had so far, if that was settled.

    Raises:
        UserError: the run is longer already, or its length was given in another way.
    """
    steps = planned_steps(config, num_samples)
    if steps is None and total is not None:
        assert config.time is not None
        assert before is not None
        if before.time is None:
            raise UserError(
                f"--time {config.time} cannot change a run of {total} steps; give its new length "
                "with --steps."
            )
        # the same seconds per step as before
        steps = round(total * seconds_of(config.time) / seconds_of(before.time))
    if steps is not None and steps < done:
        raise UserError(
            f"This asks for a run of {steps} steps, but it has done {done} already; ask for at "
            "least as many, or give another --out."
        )
    return steps


def fixed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that must stay; the place of the data may change, its content is compared."""
    plain = yaml.safe_load(to_yaml(config))
    return {key: value for key, value in plain.items() if key not in MAY_CHANGE | {"data"}}
