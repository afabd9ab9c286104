"""A checkpoint: one safetensors file with all tensors, and the rest as JSON in its header.

Tensors are named `model.…`, `ema.…` and `optimizer.<state>.<parameter>`. Nothing in the file
depends on the time or the machine, so equal training states make equal files, byte for byte.
A checksum over all of it is kept in the header: what a disk has changed is refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from visarch.errors import UserError
from visarch.models.checksum import checksum
from visarch.training.atomic import replace_file
from visarch.training.sharding import part

FORMAT = 2
"""1 had no checksum."""
_HEADER, _CHECKSUM, _OPTIMIZER = "visarch", "checksum", "optimizer."


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the one at `path`: all of it or nothing.

    Raises:
        UserError: the disk is full or refuses; the old checkpoint is intact.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = {"format": FORMAT, **state}
    told[_CHECKSUM] = checksum(plain, _text(told))
    header = {_HEADER: _text(told)}  # one key only: safetensors writes several in random order
    replace_file(path, lambda side: save_file(plain, side, metadata=header))


def read_state(path: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        UserError: as `load_checkpoint` does.
    """
    return load_checkpoint(path).state


def load_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, on the CPU. Runs no code from the file.

    Raises:
        UserError: it cannot be read, is damaged, or was not written by (this version of) visarch.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(_HEADER)
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole checkpoint ({error}). {_way_out(path)}") from error
    try:
        state = json.loads(header or "")
        newer = state["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is a safetensors file, but not a checkpoint of visarch. {_way_out(path)}"
        ) from error
    if newer:
        raise UserError(
            f"{path} was written by visarch {state.get('versions', {}).get('visarch')} in format "
            f"{state['format']}; this version reads up to format {FORMAT}. Update visarch to go on "
            "with this run."
        )
    written = state.pop(_CHECKSUM, None)
    if written != checksum(tensors, _text(state)) and state["format"] > 1:
        raise UserError(
            f"{path} is damaged: it holds other numbers than were written. {_way_out(path)}"
        )
    return Checkpoint(tensors, state)


def _text(state: Mapping[str, Any]) -> str:
    return json.dumps(state, sort_keys=True)


def _way_out(path: Path) -> str:
    other = path.with_name("best.safetensors" if path.stem == "last" else "last.safetensors")
    if other.exists():
        return f"To go on from {other.name} beside it, copy that file over this one."
    return "To train again from the start, give another --out."


def module_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's parameters and stored buffers by name; shared ones once."""
    stored = module.state_dict(keep_vars=True).keys()
    named = [*module.named_parameters(), *module.named_buffers()]
    return {prefix + name: tensor for name, tensor in named if name in stored}


def load_module(module: nn.Module, checkpoint: Checkpoint, prefix: str, path: Path) -> None:
    """Put a checkpoint's tensors into a module, exactly.

    Raises:
        UserError: names or shapes differ from the module's.
    """
    _copy(module_tensors(module, prefix), checkpoint, prefix, path)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """An optimizer's state by kind and parameter name: `optimizer.exp_avg.conv.weight`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{_OPTIMIZER}{kind}.{names[parameter]}": value
        for parameter, state in optimizer.state.items()
        for kind, value in state.items()
        if value is not None
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, checkpoint: Checkpoint, path: Path
) -> None:
    """Put a checkpoint's optimizer state back, each tensor as `optimizer_tensors` found it.

    Raises:
        UserError: it has state of a parameter that the model lacks.
    """
    parameters = dict(model.named_parameters())
    state: dict[Tensor, dict[str, Tensor]] = {}
    for name, value in checkpoint.tensors.items():
        if name.startswith(_OPTIMIZER):
            kind, _, parameter = name.removeprefix(_OPTIMIZER).partition(".")
            if parameter not in parameters:
                raise _another_model(path, [f"{name} is unknown"])
            owner = parameters[parameter]
            if value.shape == owner.shape:  # in the parameter's memory format, as fused steps need
                value = torch.empty_like(owner, dtype=value.dtype).copy_(part(value, owner))
            state.setdefault(owner, {})[kind] = value
    groups = optimizer.param_groups
    order = [parameter for group in groups for parameter in group["params"]]
    optimizer.load_state_dict(
        {
            "state": {i: state[owner] for i, owner in enumerate(order) if owner in state},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )


@torch.no_grad()
def _copy(ours: dict[str, Tensor], checkpoint: Checkpoint, prefix: str, path: Path) -> None:
    theirs = {name: t for name, t in checkpoint.tensors.items() if name.startswith(prefix)}
    problems = [f"{name} is missing" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"{name} is unknown" for name in sorted(theirs.keys() - ours.keys())]
    problems += [
        f"{name} is {_kind(theirs[name])}, not {_kind(ours[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if _kind(theirs[name]) != _kind(ours[name])
    ]
    if problems:
        raise _another_model(path, problems)
    for name, tensor in ours.items():
        tensor.copy_(part(theirs[name], tensor))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _another_model(path: Path, problems: list[str]) -> UserError:
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return UserError(
        f"{path} belongs to another model: {'; '.join(problems[:3])}{more}. Give the settings that "
        "the run began with, or another --out."
    )
