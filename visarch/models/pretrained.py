"""How a model is kept on disk: ``config.json``, ``model.safetensors`` and a card, as on the hub."""

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_model

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


class Pretrained(PyTorchModelHubMixin, library_name="visarch", license="apache-2.0"):
    """``save_pretrained`` and ``from_pretrained`` for the models of this package.

    On top of huggingface_hub's mixin, ``config.json`` names the architecture, so that
    ``visarch.load`` knows what to build, and weights that do not fit are an error, never skipped.

    Raises:
        ValueError: if a folder holds another architecture than the class asked to load it.
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        config = self._hub_mixin_config
        settings = asdict(config) if is_dataclass(config) else dict(config or {})
        text = json.dumps({"architecture": type(self).__name__, **settings}, indent=2)
        (save_directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, strict: bool = True, **kwargs: Any) -> Any:
        folder = Path(model_id)
        if not folder.is_dir():
            return super()._from_pretrained(model_id=model_id, strict=strict, **kwargs)
        architecture = json.loads((folder / CONFIG_FILE).read_text("utf-8")).get("architecture")
        if architecture != cls.__name__:
            raise ValueError(
                f"{folder} holds a model of architecture {architecture!r}, not {cls.__name__!r}: "
                "visarch.load opens any of them"
            )
        device = kwargs.pop("map_location", "cpu")
        for name in ("revision", "cache_dir", "force_download", "local_files_only", "token"):
            kwargs.pop(name)
        model = cls(**kwargs)
        load_model(model, folder / WEIGHTS_FILE, strict=strict, device=device)  # type: ignore[arg-type]
        return model.eval()  # type: ignore[attr-defined]
