"""Training steps as bare loops, each with all that a step takes: data, loss, backward, clipping,
update, average."""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from visarch.data import Data, Split, open_data, to_unit
from visarch.performance.clipping import clip_gradients
from visarch.performance.preparation import prepare
from visarch.training.config import TrainConfig
from visarch.training.ema import PowerEma
from visarch.training.optimizer import make_optimizer
from visarch.training.randomness import StepNoise, batch_indices
from visarch.training.task import Task

_EMA_DECAY = 0.999


class OurStep:
    """A step of ours without the trainer: no more than the mathematics asks for.

    Args:
        task: gives the loss.
        model: a copy of it is prepared and trained.
        split: what to learn from.
        config: batch size, optimizer, clipping, width of the average, seed.
        ready: makes the copy fast, in place.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        split: Split,
        config: TrainConfig,
        ready: Callable[[nn.Module], nn.Module] = prepare,
    ) -> None:
        self.task, self.split, self.config = task, split, config
        self.model = ready(copy.deepcopy(model).train())
        self.optimizer = make_optimizer(self.model, config)
        self.ema = PowerEma(self.model, config.ema)
        self.parameters = list(self.model.parameters())
        self.number = 0

    def __call__(self) -> float:
        seed, size = self.config.seed, self.config.batch_size
        batch = self.split.read(batch_indices(seed, self.number, len(self.split), size))
        loss, _ = self.task.loss(self.model, batch, StepNoise(seed, self.number, size))
        loss.backward()
        clip_gradients(self.parameters, self.config.clip or math.inf)
        self.optimizer.step()
        self.ema.update()
        self.optimizer.zero_grad()
        self.number += 1
        return loss.item()


class PeerStep:
    """A step as users of torch write it, with torch's own loader, clipping and average.

    Args:
        model: is trained in place.
        loss: of the tensors of a batch.
        optimizer: of the model's parameters.
        tensors: what to learn from: images, and labels if there are any.
        config: batch size and clipping, the same as ours.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        optimizer: torch.optim.Optimizer,
        tensors: tuple[Tensor, ...],
        config: TrainConfig,
    ) -> None:
        self.loss, self.optimizer, self.clip = loss, optimizer, config.clip or math.inf
        self.model = model.train()
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY))
        self.batches = _endless(
            DataLoader(
                TensorDataset(*tensors), batch_size=config.batch_size, shuffle=True, drop_last=True
            )
        )

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(*next(self.batches))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        return loss.item()


def digits(*, side: int, channels: int) -> Data:
    """The embedded digits in a size of their own: real images that are always at hand."""
    return open_data("digits", image_size=side, channels=channels)


def unit_images(data: Data) -> Tensor:
    """The training images on the unit scale, as a peer's loader has them."""
    images = data.splits["train"].images
    assert isinstance(images, Tensor)
    return to_unit(images, data.levels)


@torch.no_grad()
def in_eval(model: nn.Module, *inputs: Tensor) -> Any:
    """What a model in training makes of inputs in eval mode; it goes on training after that."""
    model.eval()
    output = model(*inputs)
    model.train()
    return output


def _endless(loader: DataLoader) -> Iterator[Any]:
    for batches in repeat(loader):
        yield from batches
