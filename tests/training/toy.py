"""A task in miniature: a convolution, BatchNorm and dropout that learn to shrink noise."""

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin
from PIL import Image
from torch import Tensor, nn

from visarch.errors import UserError
from visarch.training.config import TrainConfig
from visarch.training.devices import make_accelerator, processes
from visarch.training.loop import Result, train
from visarch.training.randomness import StepNoise
from visarch.training.trainer import Trainer


@dataclass
class ToyBatch:
    images: Tensor
    labels: Tensor | None
    indices: Tensor

    def to(self, device: torch.device | str) -> "ToyBatch":
        return ToyBatch(self.images.to(device), None, self.indices)


@dataclass
class ToySplit:
    name: str
    images: Tensor
    names: list[str]
    labels: Tensor | None = None
    in_memory: bool = True
    sequential: bool = False

    def seeded(self, seed: int) -> "ToySplit":
        return self

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Tensor) -> ToyBatch:
        return ToyBatch(self.images[indices], None, indices)


@dataclass
class ToyData:
    splits: dict[str, ToySplit]
    source: str = "toy"

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split in self.splits.values():
            digest.update(split.images.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict:
        return {"source": self.source, "fingerprint": self.fingerprint()}


def toy_data(num_train: int = 37, num_validation: int = 9, seed: int = 0) -> ToyData:
    generator = torch.Generator().manual_seed(seed)

    def split(name: str, count: int) -> ToySplit:
        images = torch.rand(count, 1, 4, 4, generator=generator)
        return ToySplit(name, images, [f"{name}-{index}.png" for index in range(count)])

    splits = {"train": split("train", num_train)}
    if num_validation:
        splits["validation"] = split("validation", num_validation)
    return ToyData(splits)


class ToyModel(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(self.norm(self.conv(x)).relu()))


def toy_model(width: int = 4, dropout: float = 0.2) -> ToyModel:
    torch.manual_seed(0)
    return ToyModel(width, dropout)


class ToyTask:
    """Denoise; `spoil(step, loss)` may change the loss, `at_step(step)` may do anything."""

    name = "toy"
    metric = ("error", "min")
    low_precision = False

    def __init__(
        self,
        spoil: Callable[[int, Tensor], Tensor] = lambda step, loss: loss,
        at_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.spoil = spoil
        self.at_step = at_step
        self.evaluations = 0

    def facts(self) -> dict:
        return {"noise": 0.1}

    def loss(
        self, model: nn.Module, batch: ToyBatch, noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.at_step(noise.step)
        noisy = batch.images + 0.1 * noise.normal(*batch.images.shape[1:])
        error = (model(noisy) - batch.images).square().mean()
        return self.spoil(noise.step, error), {"error": error}

    def evaluate(self, model: nn.Module, split: ToySplit, noise: StepNoise) -> dict[str, float]:
        self.evaluations += 1
        assert not model.training
        batch_noise = noise.fork(0, len(split))
        noisy = split.images + 0.1 * batch_noise.normal(*split.images.shape[1:])
        return {"error": float((model(noisy) - split.images).square().mean())}

    def pictures(self, model: nn.Module, data: ToyData) -> dict[str, Image.Image]:
        pixels = model(data.splits["train"].images[:1])[0, 0].clamp(0, 1) * 255
        return {"sample": Image.fromarray(pixels.to(torch.uint8).numpy())}


def settings(out: Path, **changes: object) -> TrainConfig:
    values: dict = {
        "data": "toy",
        "out": str(out),
        "steps": 100,
        "batch_size": 8,
        "warmup_steps": 10,
        "decay": "inverse_sqrt",
        "device": "cpu",
        "log_every": 7,
        "checkpoint_every": 20,
        "sample_every": 50,
        "evaluate_every": 25,
    }
    return TrainConfig(**(values | changes))


def run(out: Path, task: ToyTask | None = None, **changes: object) -> Result:
    """Train the toy, to its end or a signal."""
    return train(task or ToyTask(), toy_model(), toy_data(), settings(out, **changes), quiet=True)


def toy_trainer(out: Path, task: ToyTask | None = None, **changes: object) -> Trainer:
    """A trainer without a loop around it."""
    config = settings(out, **changes)
    accelerator = make_accelerator(
        config, processes(config), out, low_precision=False, num_samples=1
    )
    data = toy_data().splits["train"]
    return Trainer(task or ToyTask(), toy_model(), data, config, accelerator)


def run_here(out: Path, changes: dict) -> None:
    """Train in this process, at a pace that leaves time to kill it, and end it with the exit code
    that the command line would have."""
    torch.set_num_threads(1)
    slow = ToyTask(at_step=lambda step: time.sleep(0.02))
    try:
        sys.exit(run(out, slow, **changes).exit_code)
    except UserError:
        sys.exit(2)
