"""A finished run, opened to be used: its model, how it prepared its data, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visarch.data import Data, Preparation, Split, load_images, open_data
from visarch.data.opening import KINDS
from visarch.data.picture import SUFFIXES
from visarch.data.preparation import times
from visarch.device import find_device
from visarch.errors import UserError
from visarch.hub import load
from visarch.inference.splits import every_sample, held_out
from visarch.models.vae import GaussianVAE
from visarch.training.runfolder import CONFIG, read_config

DATA = "data.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Run:
    """A trained VAE with what the verbs must know of it."""

    source: str
    """What was opened, as it was written."""
    folder: Path | None
    """The run folder; none for a model on its own, in a folder or on the hub."""
    model: GaussianVAE
    """In eval mode, on the device asked for."""
    preparation: Preparation
    """How images become what the model takes."""
    assumption: str | None
    """What had to be assumed, as a sentence; nothing where there is a run folder."""
    seed: int
    """The seed of the training; 0 for a model on its own."""
    data: str | None
    """What it was trained on, as it was written; none for a model on its own."""
    fingerprint: str | None
    """The content of that data at the training."""

    def open_data(
        self, data: str | None = None, progress: Progress = lambda done, total: None
    ) -> Data:
        """Data prepared as the model's own was; by default what it was trained on.

        Raises:
            UserError: there is no such data, or nothing in it can be used.
        """
        if data is not None:
            return open_data(data, like=self.preparation, progress=progress)
        if self.data is None:
            raise UserError(
                f"{self.source} is a model without its run folder, so that it is not known what "
                "it was trained on: say which data to take."
            )
        try:
            return open_data(self.data, like=self.preparation, progress=progress)
        except UserError as error:
            raise UserError(
                f"{error} This is what {self.source} was trained on: say where it is now, or "
                "which other data to take."
            ) from error

    def is_trained_on(self, data: Data) -> bool:
        """Whether the model was trained on this very content."""
        return data.fingerprint() == self.fingerprint

    def open_inputs(
        self, names: Sequence[str], progress: Progress = lambda done, total: None
    ) -> Data | Split:
        """What stands on a command line: image files, or one name of data, or nothing for its own.

        Raises:
            UserError: one is missing or cannot be used, or there are several that are not all image
                files.
        """
        if not names:
            return self.open_data(progress=progress)
        if all(map(_is_image_file, names)):
            return load_images(names, self.preparation)
        if len(names) > 1:
            other = next(name for name in names if not _is_image_file(name))
            raise UserError(
                f"{other!r} is no image file, and {len(names)} things are named: give image files, "
                f"or one of {KINDS}."
            )
        return self.open_data(names[0], progress)

    def held_out(self, data: Data) -> Split:
        """The samples that the model was not trained on: all of them if the data is not its own."""
        if data.source == self.data or self.is_trained_on(data):
            return held_out(data)
        return every_sample(data)[0]


def load_run(source: str, device: str = "auto") -> Run:
    """Open a run folder, or a model folder or hub id, whose data must then be assumed.

    Raises:
        UserError: there is no finished run, it holds another kind of model, or what the run folder
            should tell of the data cannot be read; there is no such device.
    """
    place = find_device(device)
    model = load(source)
    if not isinstance(model, GaussianVAE):
        raise UserError(
            f"{source} holds a {type(model).__name__}; only with a GaussianVAE can this be done."
        )
    model.to(place)
    folder = _run_folder(Path(source))
    if folder is None:
        preparation, assumption = _assume(source, tuple(model.config.image_shape))
        return Run(source, None, model, preparation, assumption, 0, None, None)
    description = _read_json(folder / DATA)
    try:
        return Run(
            source=source,
            folder=folder,
            model=model,
            preparation=Preparation.from_dict(description["preparation"]),
            assumption=None,
            seed=int(read_config(folder)["seed"]),
            data=description["source"],
            fingerprint=description["fingerprint"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / DATA} or {CONFIG} beside it lacks what a run writes there ({error!r}). The "
            f"model alone can still be opened: copy {folder / 'model'} to another place."
        ) from error


def _is_image_file(name: str) -> bool:
    """Whether something on the command line names an image, going by its suffix."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _run_folder(source: Path) -> Path | None:
    """The run folder that `source` is, or whose model/ it is."""
    if (source / CONFIG).is_file():
        return source
    if source.name == "model" and (source.parent / CONFIG).is_file():
        return source.parent
    return None


def _assume(source: str, shape: tuple[int, ...]) -> tuple[Preparation, str]:
    """How data of this shape is mostly prepared, and a sentence that says so."""
    if len(shape) == 3:
        levels, kind = 256, f"8-bit images of {times(shape)}"
    else:
        levels, kind = None, f"continuous values within [0, 1] in samples of {times(shape)}"
    return Preparation(shape, levels), (
        f"{source} does not say how its data was prepared, as a run's {DATA} would: {kind} are "
        "assumed."
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}, which says how the run prepared its data, cannot be read: {error}."
        ) from error
