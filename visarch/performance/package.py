"""A fast copy of a model in one file: folded weights in their final precision, and no code.

The file is a safetensors file whose header says what it holds. To open it takes neither a compiler
nor trust: weights are laid out for the processor that reads them. (A program exported by PyTorch
cannot hold such weights, may hold pickles, and a compiled one is machine code that would have to be
trusted, and would fit one kind of processor alone.)
"""

import inspect
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from visarch.errors import UserError
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianVAE
from visarch.performance import choices
from visarch.performance.folding import fold_batch_norms
from visarch.performance.inference import (
    DTYPES,
    Inference,
    Precision,
    architecture,
    choose_precision,
    freeze,
)
from visarch.performance.packed_blocks import own_tensors

_FORMAT = "visarch-inference-1"
_ARCHITECTURES = {kind.__name__: kind for kind in (ResNet, UNet, Denoiser, GaussianVAE)}


def save_package(model: Any, path: str | Path, precision: Precision = "auto") -> None:
    """Write the copy that ``optimize_for_inference`` would make of a model to one file.

    Raises:
        ValueError: as :func:`visarch.performance.inference.optimize_for_inference`.
    """
    chosen = choose_precision(model, precision, None)
    folded = fold_batch_norms(model)
    own_tensors(folded, DTYPES[chosen])
    kind = architecture(model)
    assert kind is not None
    header = {
        "format": _FORMAT,
        "architecture": kind.__name__,
        "settings": json.dumps(model.settings()),
        "precision": chosen,
    }
    if isinstance(model, ResNet) and model.mean is not None and model.deviation is not None:
        normalization = [numbers.flatten().tolist() for numbers in (model.mean, model.deviation)]
        header["normalization"] = json.dumps(normalization)
    save_file({name: t.cpu().contiguous() for name, t in folded.state_dict().items()}, path, header)


def load_package(path: str | Path, device: str = "cpu") -> Inference:
    """Open what :func:`save_package` wrote.

    A package in bf16 is computed in fp32 where the device has no units for bf16.

    Raises:
        UserError: if there is no such file, or none that this version can read.
    """
    place = torch.device(device)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The inference package {path} cannot be opened: {error}") from error
    if header.get("format") != _FORMAT:
        raise UserError(
            f"{path} is no inference package of this version of visarch: its header says format "
            f"{header.get('format')!r}, not {_FORMAT!r}. Write it anew with save_package."
        )
    try:
        with torch.device("meta"):
            model = _build(header["architecture"], json.loads(header["settings"]))
            folded = fold_batch_norms(model)
        folded.load_state_dict(tensors, assign=True)
        if isinstance(folded, ResNet) and "normalization" in header:
            folded.normalize_inputs(*json.loads(header["normalization"]))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"The inference package {path} is damaged: {error}") from error
    chosen = header["precision"]
    if chosen == "bf16":
        chosen = choices.precision(place, low_precision=True).value
    return freeze(folded.to(place), chosen)


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    """A model by the settings of its ``config.json``."""
    kind = _ARCHITECTURES[name]
    arguments: dict[str, Any] = {}
    for argument, parameter in inspect.signature(kind).parameters.items():
        given = settings if argument == "config" else settings[argument]
        if is_dataclass(parameter.annotation):
            names = [field.name for field in fields(parameter.annotation)]
            given = parameter.annotation(**{name: given[name] for name in names})  # type: ignore[operator]
        arguments[argument] = given
    return kind(**arguments)
