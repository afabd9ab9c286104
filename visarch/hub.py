"""Opening a model from wherever it is: a run folder, a model folder, or the Hugging Face hub."""

import json
import textwrap
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn

from visarch.errors import UserError
from visarch.models.pretrained import CONFIG_FILE, Pretrained
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianVAE

_ARCHITECTURES: dict[str, type[Pretrained]] = {
    architecture.__name__: architecture for architecture in (ResNet, UNet, Denoiser, GaussianVAE)
}


def load(source: str | Path) -> nn.Module:
    """The model kept at ``source``, in eval mode on the CPU.

    Args:
        source: a run folder (its ``model/`` is opened), a folder with ``config.json`` and
            ``model.safetensors``, or a hub id ``owner/name``.

    Raises:
        UserError: if there is no model at ``source``, or none that this package knows.
    """
    folder = Path(source)
    if folder.is_dir():
        if (folder / "model" / CONFIG_FILE).is_file():
            folder = folder / "model"
        config_file = folder / CONFIG_FILE
        if not config_file.is_file():
            raise UserError(_why_no_model(folder))
    elif isinstance(source, str) and source.count("/") == 1 and not folder.parent.is_dir():
        config_file = _config_from_hub(source)
    else:
        raise UserError(f"There is no run folder or model folder {source}.")

    try:
        architecture = json.loads(config_file.read_text("utf-8")).get("architecture")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{config_file} is not a model's configuration: {error}") from error
    if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
        raise UserError(
            f"{config_file} names the architecture {architecture!r}: this version of visarch knows "
            f"{', '.join(_ARCHITECTURES)}."
        )
    name = str(folder if folder.is_dir() else source)
    try:
        return _ARCHITECTURES[architecture].from_pretrained(name)  # type: ignore[return-value]
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        why = textwrap.shorten(str(error), 400, placeholder=" …")  # PyTorch lists every tensor
        raise UserError(f"The model in {name} cannot be opened: {why}") from error


def load_beside(source: str | Path, name: str) -> dict[str, Any]:
    """What a JSON file beside the weights of the model at ``source`` holds; nothing where there is
    no such file.

    Raises:
        UserError: it is there and holds no JSON object.
    """
    folder = Path(source)
    if (folder / "model" / CONFIG_FILE).is_file():
        folder = folder / "model"
    if folder.is_dir():
        file = folder / name
        if not file.is_file():
            return {}
    else:
        try:
            file = Path(hf_hub_download(str(source), name))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
            return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold one JSON object, and holds {type(content).__name__}.")
    return content


def _config_from_hub(name: str) -> Path:
    try:
        return Path(hf_hub_download(name, CONFIG_FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"There is no folder {name} here, and the hub has no model of that name within reach "
            f"({type(error).__name__})."
        ) from error


def _why_no_model(folder: Path) -> str:
    if (folder / "config.yaml").is_file():
        return (
            f"{folder} is a run that has not written its model yet: it is still training, or was "
            f"interrupted. `visarch train --resume {folder}` goes on with it."
        )
    return f"{folder} holds no {CONFIG_FILE}: it is neither a run folder nor a model folder."
