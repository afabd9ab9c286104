"""The training loop that VAE, classifier and diffusion share."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn

from visarch.errors import UserError
from visarch.training.config import TrainConfig
from visarch.training.devices import check_devices, make_accelerator, processes
from visarch.training.failures import explained
from visarch.training.length import planned_steps
from visarch.training.progress import Reporter
from visarch.training.runfolder import RunFolder, open_run
from visarch.training.session import Result, Session
from visarch.training.task import Task
from visarch.training.trainer import Trainer

if TYPE_CHECKING:
    from visarch.data import Data


def train(
    task: Task, model: nn.Module, data: "Data", config: TrainConfig, *, quiet: bool = False
) -> Result:
    """Train a model on data until the run is as long as the config says.

    Opens a new run folder, or goes on with the one at `config.out` exactly where its last
    checkpoint was written. Seed torch with `config.seed` before making the model, so that its
    first weights belong to the run; on resume they come from the checkpoint.

    Args:
        task: what to minimise, measure and draw.
        model: has `save_pretrained`; is trained in place.
        data: has a split `train`, and `validation` and `test` where there are any.
        config: the settings, which may be a subclass with the task's own.
        quiet: print nothing.

    Raises:
        UserError: a setting, the run folder or its checkpoint does not fit; the disk is full.
        NonFiniteError: too many steps in a row were not finite.
        TrainingStopped: there was no memory left, or a process that trains along has ended.
    """
    started = time.monotonic()
    planned_steps(config, len(data.splits["train"]))
    state = processes(config)
    check_devices(config, state)
    with ExitStack() as stack:
        with explained(None):
            path, folder = _open_folder(config, task, state)
        if folder:
            stack.callback(folder.close)
        accelerator = make_accelerator(
            config,
            state,
            path,
            low_precision=task.low_precision,
            num_samples=len(data.splits["train"]),
        )
        stack.callback(accelerator.end_training)
        with explained(path):
            trainer = Trainer(task, model, data.splits["train"], config, accelerator)
            stack.callback(trainer.release)
            reporter = Reporter(quiet=quiet or folder is None, device=state.device)
            return Session(trainer, data, path, folder, reporter, started).go()


def _open_folder(
    config: TrainConfig, task: Task, state: PartialState
) -> tuple[Path, RunFolder | None]:
    """The run folder's path for every process, and the folder to write to for the main one."""
    folder, answer = None, ["", ""]
    if state.is_main_process:
        try:
            folder = open_run(config, task.name)
            answer[0] = str(folder.path)
        except UserError as error:
            answer[1] = str(error)
    if state.num_processes > 1:
        broadcast_object_list(answer)
    if answer[1]:
        raise UserError(answer[1])
    return Path(answer[0]), folder
