"""How a model is kept on disk: ``config.json``, ``model.safetensors`` and a card, as on the hub."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_model, save_model

from visarch.models.checksum import KEY, check_weights, checksum

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


class Pretrained(PyTorchModelHubMixin, library_name="visarch"):
    """``save_pretrained`` and ``from_pretrained`` for the models of this package.

    On top of huggingface_hub's mixin, ``config.json`` names the architecture, so that
    ``visarch.load`` knows what to build; and settings or weights that do not fit are an error,
    never skipped.

    Raises:
        ValueError: if what is loaded is of another architecture than the class asked to load it,
            or has settings that the class does not know; if its weights are not
            those that were written.
    """

    def optimize_for_inference(self, **options: Any) -> Any:
        """A fast copy that gives outputs without gradients; the model itself stays as it is.

        Options: see :func:`visarch.performance.inference.optimize_for_inference`.
        """
        # asked for by name: models know nothing of what makes them fast
        inference = import_module("visarch.performance.inference")
        return inference.optimize_for_inference(self, **options)

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` tells: the architecture and what its constructor was given."""
        config = self._hub_mixin_config
        given = asdict(config) if is_dataclass(config) else dict(config or {})
        return {"architecture": type(self).__name__, **given}

    def _save_pretrained(self, save_directory: Path) -> None:
        metadata = {KEY: checksum(self.state_dict())}  # type: ignore[attr-defined]
        save_model(self, str(save_directory / WEIGHTS_FILE), metadata)  # type: ignore[arg-type]
        text = json.dumps(self.settings(), indent=2)
        (save_directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any
    ) -> Any:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        download = {name: kwargs.pop(name) for name in names}

        def fetched(name: str) -> Path:
            local = Path(model_id)
            return (
                local / name
                if local.is_dir()
                else Path(hf_hub_download(model_id, name, **download))
            )

        cls._check_settings(json.loads(fetched(CONFIG_FILE).read_text("utf-8")), model_id)
        model = cls(**kwargs)
        weights = fetched(WEIGHTS_FILE)
        check_weights(weights)
        load_model(model, weights, strict=strict, device=map_location)  # type: ignore[arg-type]
        return model.eval()  # type: ignore[attr-defined]

    @classmethod
    def _check_settings(cls, settings: dict[str, Any], place: str) -> None:
        architecture = settings.pop("architecture", None)
        if architecture != cls.__name__:
            raise ValueError(
                f"{place} holds a model of architecture {architecture!r}, not {cls.__name__!r}: "
                "visarch.load opens any of them"
            )
        kinds = {name: p.annotation for name, p in inspect.signature(cls).parameters.items()}
        unknown = _unknown(settings, _fields_of(kinds["config"]) if "config" in kinds else kinds)
        if unknown:
            raise ValueError(
                f"{CONFIG_FILE} of {place} has settings that this version's {cls.__name__} does "
                f"not know: {', '.join(unknown)}"
            )


def _unknown(settings: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Names of settings that nobody knows, those within a dataclass included."""
    unknown = [name for name in settings if name not in known]
    for name, value in settings.items():
        if is_dataclass(known.get(name)) and isinstance(value, Mapping):
            unknown += [f"{name}.{inner}" for inner in _unknown(value, _fields_of(known[name]))]
    return unknown


def _fields_of(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}
