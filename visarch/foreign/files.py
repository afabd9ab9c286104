"""Reading files of weights: names and tensors come out, and no code of the file is run."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visarch.errors import UserError

Weights = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights", "params")
"""Where training scripts put the state dict, beside optimizers and counters."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def read_weights(file: Path) -> Weights:
    """The state dict in a file, by its own names, in float32 on the CPU.

    A dict around it, and what wrappers of whole models put before each name, are taken off.

    Raises:
        UserError: there is no such file; it cannot be read, would have to run code, or holds
            anything but finite numbers by names.
    """
    if not file.is_file():
        raise UserError(f"There is no file {file}.")
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{file} does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, as files of "
            "weights do."
        )
    content = _safetensors(file) if file.suffix.lower() == SUFFIXES[0] else _pickled(file)
    weights = _state_dict(content, file)
    for prefix in _WRAPPERS * 2:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return {name: _numbers(tensor, name, file) for name, tensor in weights.items()}


def _safetensors(file: Path) -> Any:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as safetensors: {error}") from error


def _pickled(file: Path) -> Any:
    """What torch.save wrote, if it is made of tensors and plain containers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, which is refused anyway
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(_why_refused(file, str(error))) from error
    except Exception as error:  # damaged files make the reader raise nearly anything
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{file} cannot be read as what torch.save writes: it is damaged, cut short, or of "
            f"another format ({first or type(error).__name__})."
        ) from error


def _why_refused(file: Path, message: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"class ([\w.]+)", message)
    if named is None and "Unsupported" not in message:
        return (
            f"{file} cannot be read as what torch.save writes: it is damaged, cut short, or of "
            "another format."
        )
    what = f" ({named[1]})" if named else ""
    return (
        f"{file} is a pickle with more than tensors in it{what}: to open it would run code that "
        "came with the file, which is refused. Where you trust it, open it in Python and save the "
        "numbers alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
    )


def _state_dict(content: Any, file: Path) -> dict[str, Any]:
    """The mapping from names to tensors, within whatever else a training script kept."""
    for key in _INSIDE:
        inside = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(inside, Mapping):
            return _state_dict(inside, file)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{file} holds a {type(content).__name__}, where a state dict is needed: tensors by "
            "their names."
        )
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        listed = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
        raise UserError(
            f"{file} holds no state dict: "
            + (f"{listed} {'are' if len(others) > 1 else 'is'} no tensor." if others else "empty.")
        )
    return {str(name): value for name, value in content.items()}


def _numbers(tensor: Tensor, name: str, file: Path) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise UserError(
            f"{name} in {file} is no plain tensor of real numbers ({tensor.dtype}, "
            f"{tensor.layout}): save the weights before they are quantized or made sparse."
        )
    if not tensor.numel():
        raise UserError(
            f"{name} in {file} holds no numbers: this is no file of weights, or a damaged one."
        )
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.float().contiguous()
    if not tensor.isfinite().all():
        raise UserError(
            f"{name} in {file} holds numbers that are not finite: the file is damaged, or the "
            "training had failed before it was written."
        )
    return tensor
