"""Steps of the trainer, beside a bare loop around the same step."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch
from torch import Tensor, nn

from visarch.bench.harness import EXACT, Contender, Race, Work
from visarch.bench.steps import OurStep
from visarch.data import Data, open_data
from visarch.models.config import ResNetConfig, VAEConfig
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.training import classifier_defaults, diffusion_defaults
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.classifier_task import ClassifierTask
from visarch.training.config import TrainConfig
from visarch.training.devices import make_accelerator, processes
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.diffusion_task import DiffusionTask
from visarch.training.task import Task
from visarch.training.trainer import Trainer
from visarch.training.vae import VAETrainConfig
from visarch.training.vae_task import VAETask

_BAR = 0.97
"""The bare loop takes at least this share of the trainer's time: it is at most 3 % slower."""
_MANY_STEPS = 10**6


@dataclass(frozen=True)
class TrainerOverhead:
    """What each training command does by default with the embedded digits on a CPU."""

    packages: ClassVar = ()

    tasks: tuple[str, ...] = ("vae", "classifier", "diffusion")

    def races(self) -> Iterator[Race]:
        data = open_data("digits")
        makers = {"vae": _vae, "classifier": _classifier, "diffusion": _diffusion}
        for name in self.tasks:
            config, task, model = makers[name](data)
            with ExitStack() as stack:
                yield _race(config, task, model, data, stack)


def _race(config: TrainConfig, task: Task, model: nn.Module, data: Data, stack: ExitStack) -> Race:
    train = data.splits["train"]

    def bare() -> Work:
        step = OurStep(task, model, train, config)
        return Work(step, lambda: _loss(step()))

    def ours() -> Work:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        accelerator = make_accelerator(
            config,
            processes(config),
            folder,
            low_precision=task.low_precision,
            num_samples=len(train),
        )
        stack.callback(accelerator.end_training)
        own = copy.deepcopy(model)
        trainer = Trainer(task, own, train, config, accelerator)
        stack.callback(trainer.release)
        trainer.total_steps = _MANY_STEPS
        return Work(trainer.step, lambda: _loss(trainer.step()["loss"]))

    return Race(
        f"{task.name}, batch {config.batch_size}",
        Contender("Trainer.step", ours, "with guard, schedule and reproducible noise"),
        (
            Contender(
                "a bare loop",
                bare,
                "batch, loss, backward, clipping, update, average; of the first loss each",
                tolerance=EXACT,
                bar=_BAR,
            ),
        ),
        count=config.batch_size,
    )


def _vae(data: Data) -> tuple[TrainConfig, Task, nn.Module]:
    config = VAETrainConfig(data="digits", device="cpu")
    return config, VAETask(config, data.levels), GaussianVAE(VAEConfig(image_shape=data.shape))


def _classifier(data: Data) -> tuple[TrainConfig, Task, nn.Module]:
    config = classifier_defaults.settle(ClassifierTrainConfig(data="digits", device="cpu"), data)
    assert data.classes is not None
    network = ResNetConfig(data.shape[0], len(data.classes), **vars(config.model))
    return config, ClassifierTask(config, data), ResNet(network)


def _diffusion(data: Data) -> tuple[TrainConfig, Task, nn.Module]:
    config = diffusion_defaults.settle(DiffusionTrainConfig(data="digits", device="cpu"), data)
    assert data.classes is not None
    network = diffusion_defaults.unet_config(config, data)
    return config, DiffusionTask(config, data), Denoiser(network, num_classes=len(data.classes))


def _loss(value: float) -> Tensor:
    return torch.tensor([value])
