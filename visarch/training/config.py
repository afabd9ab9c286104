"""The settings that every training command shares, and their way to YAML and back.

Imports no torch: the command line reads these flags before it knows what is asked of it.
"""

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from visarch.errors import UserError

Config = TypeVar("Config")

MAY_CHANGE = frozenset(
    {
        "dry_run",
        "out",
        "name",
        "steps",
        "epochs",
        "time",
        "device",
        "compile",
        "log_every",
        "checkpoint_every",
        "sample_every",
        "evaluate_every",
        "track",
        "max_bad_steps",
    }
)
"""Settings that a resumed run may change: they decide how long and where it runs and what it tells,
not what a step computes. (`data` may move as well; its content is compared by fingerprint.)"""

LARGEST_INTEGER = 2**63 - 1
"""What a whole number may be at most, here and for any flag: tensors count no further."""

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train on, for how long and how; a task's own config inherits from it.

    Raises:
        UserError: a value is outside its range; the message names flag, value and range.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What each preset sets, nested settings as mappings: only what is left open by default (None,
    or 0 where that means inferred), so that nothing which was given is ever overruled."""

    data: str
    """Where the images come from: digits, a folder, a .csv list, an .npz/.npy or .parquet file, or
    hf:owner/name."""
    preset: str | None = None
    """A named group of settings; what is given beside it goes before it."""
    out: str | None = None
    """Run folder to write to or to go on with; by default a new one under runs/."""
    name: str | None = None
    """What the new run folder is called after its number; by default task and data."""

    image_size: tuple[int, ...] | None = None
    """Sides of the images, one number or one for each axis; inferred from the data by default."""
    image_channels: int | None = None
    """1 for gray, 3 for color; inferred from the data by default."""
    init: str | None = None
    """A trained run, model folder or hub id whose weights to start from, as far as they fit."""

    steps: int | None = None
    """How long to train, in optimizer steps."""
    epochs: float | None = None
    """How long to train, in passes over the training images."""
    time: str | None = None
    """How long to train, in time, as in 90s, 10m or 1h30m."""

    batch_size: int = 128
    """Images per step, over all processes together."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9."""
    learning_rate: float = 1e-3
    """Peak learning rate, reached after the warm-up."""
    weight_decay: float = 0.01
    """Decoupled decay (AdamW) or l2 penalty (SGD) of weight matrices and kernels; never of biases
    and norms."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises linearly to its peak."""
    decay: Literal["cosine", "inverse_sqrt", "constant"] = "cosine"
    """How the learning rate falls after the warm-up; inverse_sqrt and constant do not depend on the
    length of the run, so that a finished run can be extended as if it had been longer."""
    clip: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it. 0 never clips."""
    ema: float = 0.05
    """Width of the power-function average of the weights, relative to the length of the run.
    0 evaluates and keeps the raw weights."""

    seed: int = 0
    """Decides initial weights, order of the images, and all noise."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps, …"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the heavy operations; auto takes bf16 on GPUs that have it, else fp32."""
    compile: bool | None = None
    """Compile the model with torch.compile: slow first step, faster later ones. By default on CUDA
    GPUs, where the run is long enough to pay."""

    log_every: int = 10
    """Steps from one row of metrics.csv to the next; a row holds the means over these steps."""
    checkpoint_every: int = 500
    """Steps from one checkpoint to the next; 0 saves only at the end."""
    sample_every: int = 500
    """Steps from one set of pictures to the next; 0 draws them only at the end."""
    evaluate_every: int = 500
    """Steps from one evaluation on the validation images to the next; 0 evaluates only at the
    end."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Experiment tracker that settings, metrics and pictures are also sent to; TensorBoard's files
    lie in the run folder."""
    max_bad_steps: int = 20
    """How many steps in a row may have a loss or gradient that is not finite (they change nothing)
    before training stops with a diagnosis."""
    dry_run: bool = False
    """Say what would be done and what it would cost, measured on a few steps, and write nothing."""

    def __post_init__(self) -> None:
        lengths = {"steps": self.steps, "epochs": self.epochs, "time": self.time}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            flags = " and ".join(f"{_flag(name)} {lengths[name]}" for name in given)
            raise UserError(f"{flags} both say how long to train; give one of them.")
        if self.time is not None:
            seconds_of(self.time)
        for name in ("steps", "epochs"):
            if lengths[name] is not None:
                self._check(name, minimum=0, exclusive=True)
        for name in ("batch_size", "log_every", "max_bad_steps", "image_channels"):
            self._check(name, minimum=1)
        for name in ("warmup_steps", "checkpoint_every", "sample_every", "evaluate_every", "seed"):
            self._check(name, minimum=0)
        self._check("learning_rate", minimum=0, exclusive=True)
        self._check("weight_decay", minimum=0)
        self._check("clip", minimum=0)
        self._check("ema", minimum=1e-6 if self.ema > 0 else 0, maximum=0.28)
        for name in ("optimizer", "decay", "precision", "track"):
            self._check_choice(name)
        if self.preset is not None and self.preset not in self.PRESETS:
            there = ", ".join(self.PRESETS) or "none for this task"
            raise UserError(f"--preset {self.preset} is not known; there is: {there}.")
        if self.decay == "inverse_sqrt" and self.warmup_steps == 0:
            raise UserError(
                "--decay inverse_sqrt falls as sqrt(warm-up / step), so it needs --warmup-steps of "
                "at least 1; it is 0."
            )

    def _check(
        self, name: str, *, minimum: float, maximum: float = math.inf, exclusive: bool = False
    ) -> None:
        value = getattr(self, name)
        if value is None:  # a task may infer it
            return
        below = value <= minimum if exclusive else value < minimum
        if below or value > maximum or not math.isfinite(value):
            bound = f"above {minimum:g}" if exclusive else f"at least {minimum:g}"
            if maximum < math.inf:
                bound += f" and at most {maximum:g}"
            raise UserError(f"{_flag(name)} is {value}; it must be {bound}.")

    def _check_choice(self, name: str) -> None:
        value, choices = getattr(self, name), get_args(get_type_hints(type(self))[name])
        if value not in choices:
            raise UserError(f"{_flag(name)} is {value!r}; it must be one of {', '.join(choices)}.")


def with_preset(config: Config) -> tuple[Config, list[tuple[str, str, str]]]:
    """The config with the settings of its preset, where they were left at their default, and the
    reasons. Applied a second time it changes nothing."""
    assert isinstance(config, TrainConfig)
    if config.preset is None:
        return config, []
    return _filled(config, config.PRESETS[config.preset], f"preset {config.preset}")


def _filled(
    config: Any, settings: Mapping[str, Any], why: str
) -> tuple[Any, list[tuple[str, str, str]]]:
    """A dataclass with settings in place of what is still at its default, and the reasons."""
    changed: dict[str, Any] = {}
    reasons: list[tuple[str, str, str]] = []
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name, value in settings.items():
        own = getattr(config, name)
        if isinstance(value, Mapping):
            changed[name], more = _filled(own, value, why)
            reasons += more
        elif own == defaults[name] != value:
            changed[name] = value
            reasons.append((name.replace("_", " "), spelled(value), why))
    return dataclasses.replace(config, **changed), reasons


def spelled(value: Any) -> str:
    """A setting's value as one would type it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def seconds_of(time: str) -> float:
    """Seconds in a length of time written as 90s, 10m, 1.5h or 1h30m.

    Raises:
        UserError: it is written otherwise, or is zero.
    """
    number = r"\d+(?:\.\d+)?"
    parts = re.findall(rf"({number})([smhd])", time)
    if not re.fullmatch(rf"(?:{number}[smhd])+", time) or not any(float(n) for n, _ in parts):
        raise UserError(
            f"--time is {time!r}; write a length of time above zero with its unit, as in 90s, 10m "
            "or 1h30m."
        )
    return sum(float(value) * _SECONDS[unit] for value, unit in parts)


def to_yaml(config: Any, **extra: Any) -> str:
    """A config dataclass, nested ones included, as YAML; `extra` keys come first."""
    return yaml.safe_dump(extra | _plain(config), sort_keys=False, allow_unicode=True)


def from_mapping(cls: type[Config], values: Mapping[str, Any], *, place: str) -> Config:
    """The config of class `cls` from what YAML gave; `place` names the source in messages.

    Raises:
        UserError: an unknown or missing key, or a value of another type.
    """
    assert dataclasses.is_dataclass(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = get_type_hints(cls)
    for key in values:
        if key not in fields:
            near = get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}."
            raise UserError(f"{place} has the key {key!r}, which {cls.__name__} lacks; {hint}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{place} lacks {', '.join(missing)}, which {cls.__name__} needs.")
    converted = {
        name: _convert(hints[name], value, f"{name} in {place}") for name, value in values.items()
    }
    return cls(**converted)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys at which two plain configs differ, each with both values."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key} (was {before}, now {after})")
    return lines


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _plain(value: Any) -> Any:
    """Dataclasses as mappings and tuples as lists, all the way down: what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(hint: Any, value: Any, place: str) -> Any:
    """A YAML value as the annotated type; YAML knows no tuples and reads 1e-4 as a string."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            try:
                return _convert(argument, value, place)
            except UserError:
                continue
    elif hint is type(None):
        if value is None:
            return None
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return from_mapping(hint, value, place=place)  # type: ignore[arg-type]
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = arguments[:1] * len(value) if arguments[-1:] == (Ellipsis,) else arguments
            if len(inner) == len(value):
                return tuple(_convert(i, v, place) for i, v in zip(inner, value, strict=True))
    elif hint is float:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                return float(value)
            except ValueError:
                pass
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER:
            return value
    elif isinstance(value, hint):
        return value
    raise UserError(f"{place} is {value!r}; it must be {_named(hint)}.")


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
