"""A finished run, opened to be used: its model, how it prepared its data, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from torch import nn

from visarch.data import Data, Preparation, Split, load_images, open_data
from visarch.data.opening import KINDS
from visarch.data.picture import SUFFIXES
from visarch.data.preparation import times
from visarch.data.reading import Progress
from visarch.device import find_device
from visarch.errors import UserError
from visarch.hub import load, load_beside
from visarch.inference.splits import every_sample, held_out
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.performance.choices import arrange_weights, memory_format
from visarch.training.config import from_mapping
from visarch.training.runfolder import CONFIG, TASK, read_config

DATA = "data.json"

TASKS: Mapping[type[nn.Module], str] = {
    GaussianVAE: "vae",
    ResNet: "classifier",
    Denoiser: "diffusion",
}
"""What a model of each kind was trained for."""

M = TypeVar("M", bound=nn.Module)
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Run(Generic[M]):
    """A trained model with what the verbs must know of it."""

    source: str
    """What was opened, as it was written."""
    folder: Path | None
    """The run folder; none for a model on its own, in a folder or on the hub."""
    model: M
    """In eval mode, on the device asked for."""
    preparation: Preparation
    """How images become what the model takes."""
    classes: tuple[str, ...] | None
    """Names of the classes that the model knows; a label is a position here."""
    vector_names: tuple[str, ...] | None
    """Names of the numbers in a context vector that the model takes."""
    settings: Mapping[str, Any]
    """What the task keeps with its model: how a diffusion model is to be sampled, for one."""
    assumption: str | None
    """What had to be assumed, as a sentence; nothing where there is a run folder."""
    seed: int
    """The seed of the training; 0 for a model on its own."""
    data: str | None
    """What it was trained on, as it was written; none for a model on its own."""
    fingerprint: str | None
    """The content of that data at the training."""

    @property
    def task(self) -> str:
        """ "vae", "classifier" or "diffusion"."""
        return TASKS[type(self.model)]

    def of(self, *kinds: type[N]) -> Run[N]:
        """The same, known to hold a model of one of these kinds.

        Raises:
            UserError: it is of another kind.
        """
        if not isinstance(self.model, kinds):
            wanted = " or ".join(f"{kind.__name__} ({TASKS[kind]})" for kind in kinds)
            raise UserError(
                f"{self.source} holds a {type(self.model).__name__} ({self.task}); only with a "
                f"{wanted} can this be done."
            )
        return cast("Run[N]", self)

    def open_data(
        self,
        data: str | None = None,
        progress: Progress = lambda done, total: None,
        *,
        labelled: bool = False,
    ) -> Data:
        """Data prepared as the model's own was; by default what it was trained on. Where it has to
        be `labelled`, its labels are positions among the model's classes.

        Raises:
            UserError: there is no such data, or nothing in it can be used.
        """
        classes = self.classes if labelled else None
        if data is not None:
            return open_data(data, like=self.preparation, classes=classes, progress=progress)
        if self.data is None:
            raise UserError(
                f"{self.source} is a model without its run folder, so that it is not known what "
                "it was trained on: say which data to take."
            )
        try:
            return open_data(self.data, like=self.preparation, classes=classes, progress=progress)
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


def load_run(source: str, device: str = "auto") -> Run[nn.Module]:
    """Open a run folder; or a model folder or hub id, whose data must be assumed where nothing with
    it tells.

    Raises:
        UserError: there is no finished run, or what it should tell of the data cannot be read;
            there is no such device.
    """
    place = find_device(device)
    model = load(source)
    if type(model) not in TASKS:
        raise UserError(
            f"{source} holds a bare {type(model).__name__}, which was not trained for a task; "
            f"there are runs of {', '.join(TASKS.values())}."
        )
    arrange_weights(model.to(place), memory_format(model, place, "fp32").value)  # as in training
    facts = load_beside(source, TASK)
    folder = _run_folder(Path(source))
    if folder is None:
        return _model_on_its_own(source, model, facts)
    description = _read_json(folder / DATA)
    try:
        vectors = description["vectors"] or {}
        told = {"settings": facts.get("settings"), "vector_names": vectors.get("names")}
        run = _told(source, model, {**description, **told})
        return replace(
            run,
            folder=folder,
            seed=int(read_config(folder)["seed"]),
            data=str(description["source"]),
            fingerprint=str(description["fingerprint"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / DATA} or {CONFIG} beside it lacks what a run writes there ({error}). The "
            f"model alone can still be opened: copy {folder / 'model'} to another place."
        ) from error


def _model_on_its_own(source: str, model: nn.Module, facts: Mapping[str, Any]) -> Run[nn.Module]:
    """A model without its run, by what is told beside it, or else by what is mostly so."""
    if facts:
        try:
            return _told(source, model, facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{TASK} in {source} lacks what belongs there ({error}): take it from where the "
                "model came from, or remove it to have its data assumed."
            ) from error
    if not isinstance(model, GaussianVAE):
        raise UserError(
            f"{source} has no {TASK}, which tells how its images were prepared: open the run "
            "folder, or a copy of its whole model/ folder."
        )
    preparation, assumption = _assume(source, tuple(model.config.image_shape))
    told = _told(source, model, {"preparation": preparation.to_dict()})
    return replace(told, assumption=assumption)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What data.json and task.json tell of a model, as far as it is used here."""

    preparation: Preparation
    classes: tuple[str, ...] | None = None
    vector_names: tuple[str, ...] | None = None
    settings: Any = None
    seed: int = 0


def _told(source: str, model: nn.Module, facts: Mapping[str, Any]) -> Run[nn.Module]:
    """A model with what is told of it; the rest as it is without a run folder."""
    used = {field.name: facts[field.name] for field in fields(_Facts) if field.name in facts}
    told = from_mapping(_Facts, used, place=source)
    count = _num_classes(model)
    if count is not None and told.classes is not None and len(told.classes) != count:
        raise UserError(f"there are {len(told.classes)} classes, and the model has {count}")
    settings = dict(told.settings or {})
    if isinstance(model, ResNet) and "mean" in settings:
        model.normalize_inputs(settings["mean"], settings["deviation"])
    return Run(
        source=source,
        folder=None,
        model=model,
        preparation=told.preparation,
        classes=told.classes,
        vector_names=told.vector_names,
        settings=settings,
        assumption=None,
        seed=told.seed,
        data=None,
        fingerprint=None,
    )


def _num_classes(model: nn.Module) -> int | None:
    """How many classes a model tells apart, or can be told; none where it knows of none."""
    if isinstance(model, ResNet):
        return model.config.num_classes
    label = model.context.label if isinstance(model, Denoiser) else None
    return None if label is None else label.num_embeddings - 1


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
