"""Experiment trackers: what `--track` sends to TensorBoard or W&B, through Accelerate."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL.Image import Image

from visarch.training.config import TrainConfig, to_yaml

_PROJECTS = {"tensorboard": "tensorboard", "wandb": "visarch"}
"""What Accelerate calls the project: for TensorBoard, a folder in the run folder."""


def begin_tracking(accelerator: Accelerator, config: TrainConfig, task: str, step: int) -> None:
    """Open the tracker that the settings name, if any, and tell it of the settings.

    TensorBoard forgets what an interrupted run said of steps after `step`, which are done again.
    """
    if config.track == "none":
        return
    name = Path(accelerator.project_dir).name
    forget = {"purge_step": step + 1} if step else {}
    accelerator.init_trackers(
        _PROJECTS[config.track],
        init_kwargs={"tensorboard": forget, "wandb": {"name": name}},
    )
    settings = to_yaml(config, task=task)
    accelerator.log({"settings": f"```yaml\n{settings}```"}, step=step)


def track_pictures(accelerator: Accelerator, pictures: Mapping[str, Image], step: int) -> None:
    """Send pictures, by name."""
    for tracker in accelerator.trackers:
        for name, picture in pictures.items():
            pixels = np.asarray(picture.convert("RGB"))
            if tracker.name == "tensorboard":
                tracker.log_images(
                    {name: pixels.transpose(2, 0, 1)[None]}, step=step
                )  # h w c → c h w
            else:
                tracker.log_images({name: [pixels]}, step=step)
