"""Opening a model from wherever it is: a run folder, a model folder, or the Hugging Face hub."""

import json
import textwrap
from pathlib import Path
from typing import Any

from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
)
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
    folder = _folder_of(source)
    if folder is None:
        config_file = _from_hub(str(source), CONFIG_FILE)
        if config_file is None:
            raise UserError(f"{source} on the hub holds no {CONFIG_FILE}: it is no model's folder.")
    else:
        config_file = folder / CONFIG_FILE
        if not config_file.is_file():
            raise UserError(_why_no_model(folder))

    try:
        architecture = json.loads(config_file.read_text("utf-8")).get("architecture")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{config_file} is not a model's configuration: {error}") from error
    if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
        raise UserError(
            f"{config_file} names the architecture {architecture!r}: this version of visarch knows "
            f"{', '.join(_ARCHITECTURES)}."
        )
    name = str(folder or source)
    try:
        return _ARCHITECTURES[architecture].from_pretrained(name)  # type: ignore[return-value]
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        why = textwrap.shorten(str(error), 400, placeholder=" …")  # PyTorch lists every tensor
        raise UserError(f"The model in {name} cannot be opened: {why}") from error


def load_beside(source: str | Path, name: str) -> dict[str, Any]:
    """What a JSON file beside the weights of the model at ``source`` holds; nothing where there is
    no such file.

    Raises:
        UserError: it is there and holds no JSON object, or the hub is not within reach.
    """
    folder = _folder_of(source)
    file = _from_hub(str(source), name) if folder is None else folder / name
    if file is None or not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold one JSON object, and holds {type(content).__name__}.")
    return content


def _folder_of(source: str | Path) -> Path | None:
    """The folder that holds the model; None for one on the hub.

    Raises:
        UserError: it is neither a folder nor called like something on the hub.
    """
    folder = Path(source)
    if (folder / "model" / CONFIG_FILE).is_file():
        return folder / "model"
    if folder.is_dir():
        return folder
    if isinstance(source, str) and source.count("/") == 1 and not folder.parent.is_dir():
        return None
    raise UserError(f"There is no run folder or model folder {source}.")


def _from_hub(model: str, name: str) -> Path | None:
    """A file of a model on the hub; None where the model is there and has no such file.

    Raises:
        UserError: the model is not there, or the hub is not within reach.
    """
    try:
        return Path(hf_hub_download(model, name))
    except RemoteEntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        offline = isinstance(error, LocalEntryNotFoundError)
        # what is kept here of the hub remembers which files were not there
        if offline and try_to_load_from_cache(model, name) is _CACHED_NO_EXIST:
            return None
        raise UserError(
            f"There is no folder {model} here, and the hub has no model of that name within reach "
            f"({type(error).__name__})."
        ) from error


def _why_no_model(folder: Path) -> str:
    if (folder / "config.yaml").is_file():
        return (
            f"{folder} is a run that has not written its model yet: it is still training, or was "
            f"interrupted. `visarch train --resume {folder}` goes on with it."
        )
    return f"{folder} holds no {CONFIG_FILE}: it is neither a run folder nor a model folder."
