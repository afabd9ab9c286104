"""``visarch train``: from data to a run folder, and on with a run that was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visarch.errors import UserError
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.config import from_mapping
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.runfolder import CONFIG, read_config
from visarch.training.vae import VAETrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainVAE(VAETrainConfig):
    """Learn a Gaussian VAE from images: `visarch train vae --data digits`.

    Everything but --data has a default or is inferred from the data, and printed with the reason.
    The same command again, with --out RUN, goes on with a run that was interrupted.
    """

    def main(self) -> int | None:
        from visarch.training.vae import train_vae

        return train_vae(self)


@dataclass(frozen=True, kw_only=True)
class TrainClassifier(ClassifierTrainConfig):
    """Learn to tell classes of images apart: `visarch train classifier --data digits`.

    Everything but --data has a default or is inferred from the data, and printed with the reason.
    The same command again, with --out RUN, goes on with a run that was interrupted.
    """

    def main(self) -> int | None:
        from visarch.training.classifier import train_classifier

        return train_classifier(self)


@dataclass(frozen=True, kw_only=True)
class TrainDiffusion(DiffusionTrainConfig):
    """Learn to make images out of noise: `visarch train diffusion --data digits`.

    Everything but --data has a default or is inferred from the data, and printed with the reason.
    The same command again, with --out RUN, goes on with a run that was interrupted.
    """

    def main(self) -> int | None:
        from visarch.training.diffusion import train_diffusion

        return train_diffusion(self)


_THING_OF_TASK = {"vae": TrainVAE, "classifier": TrainClassifier, "diffusion": TrainDiffusion}


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, exactly where it stopped.

    A finished run goes on too when it is given a new length.
    """

    resume: Path
    """The run folder."""
    steps: int | None = None
    """New length of the whole run, in optimizer steps."""
    epochs: float | None = None
    """New length of the whole run, in passes over the training images."""
    time: str | None = None
    """New length of the whole run, in time, as in 90s, 10m or 1h30m."""

    def main(self) -> int | None:
        settings = read_config(self.resume)
        task = settings.pop("task", None)
        if not isinstance(task, str) or task not in _THING_OF_TASK:
            raise UserError(
                f"{self.resume / CONFIG} names the task {task!r}; "
                f"this version of visarch trains {', '.join(_THING_OF_TASK)}."
            )
        lengths = {"steps": self.steps, "epochs": self.epochs, "time": self.time}
        if any(length is not None for length in lengths.values()):
            settings |= lengths
        settings["out"] = str(self.resume)
        return from_mapping(_THING_OF_TASK[task], settings, place=str(self.resume / CONFIG)).main()
