"""Another objective in visarch's training loop: a U-Net that fills in what was covered.

The loop asks four things of a task: a loss, how to measure it, what to show, and what to remember
(`visarch/training/task.py`). It brings the rest: checkpoints and resume, the average of the
weights, the guard, curves and pictures.

    python examples/custom_objective.py
"""

import sys
from pathlib import Path
from typing import Any, Literal

import torch
from PIL.Image import Image
from torch import Tensor, nn

from visarch.data import Batch, Data, Split, open_data, to_unit
from visarch.models.unet import Denoiser, UNetConfig
from visarch.pictures import beside
from visarch.training.config import TrainConfig
from visarch.training.loop import train
from visarch.training.randomness import StepNoise

SIDE = 12
"""Of the square that is covered."""


class Filling:
    """Minimise the mean squared error of what lies under the square."""

    name = "filling"
    metric: tuple[str, Literal["min", "max"]] = ("error", "min")
    low_precision = True

    def __init__(self, levels: int | None) -> None:
        self.levels = levels

    def facts(self) -> dict[str, Any]:
        return {"covered": SIDE}

    def loss(
        self, model: nn.Module, batch: Batch, noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x = to_unit(batch.images, self.levels)
        hidden = squares(noise.integers(x.shape[-1] - SIDE + 1, 2), x)
        error = (fill(model, x, hidden) - x).square()[hidden.expand_as(x)].mean()
        return error, {}

    def evaluate(self, model: nn.Module, split: Split, noise: StepNoise) -> dict[str, float]:
        errors = []
        for number, indices in enumerate(torch.arange(len(split)).split(250)):
            batch = split.read(indices).to(noise.device)
            loss, _ = self.loss(model, batch, noise.fork(number, len(indices)))
            errors.append(loss.item() * len(indices))
        return {"error": sum(errors) / len(split)}

    def pictures(self, model: nn.Module, data: Data) -> dict[str, Image]:
        device = next(model.parameters()).device
        stored = data.splits["validation"].read(torch.arange(16)).images
        x = to_unit(stored.to(device), self.levels)
        hidden = squares(torch.full((16, 2), 8, device=device), x)
        with torch.no_grad():
            filled = torch.where(hidden, fill(model, x, hidden), x)
        return {"filled": beside(x.masked_fill(hidden, 0.5), filled)}


def squares(corner: Tensor, x: Tensor) -> Tensor:
    """Where each image is covered, (b, 1, H, W), by a square with this corner (b, 2)."""
    rows, columns = torch.meshgrid(
        *(torch.arange(side, device=x.device) for side in x.shape[2:]), indexing="ij"
    )
    places = torch.stack([rows, columns])  # (2, H, W)
    offset = places - corner[:, :, None, None]
    return ((offset >= 0) & (offset < SIDE)).all(1, keepdim=True)


def fill(model: nn.Module, x: Tensor, hidden: Tensor) -> Tensor:
    """The network's idea of the image, from what is not covered; there is no time, so t = 0."""
    return model(x.masked_fill(hidden, 0.5) - 0.5, x.new_zeros(len(x))).float() + 0.5


def main(steps: int = 250, out: str | None = None) -> Path:
    data = open_data("digits")
    torch.manual_seed(0)
    config = UNetConfig(
        in_channels=1,
        out_channels=1,
        widths=(16, 32, 64),
        attends=(False, False, True),
        num_blocks=1,
        num_groups=8,
        context_dim=64,
        dropout=0.0,
    )
    settings = TrainConfig(
        data="digits", steps=steps, batch_size=64, out=out, name="filling-digits"
    )
    result = train(Filling(data.levels), Denoiser(config), data, settings)
    error = result.metrics["validation"]["error"]
    print(f"Mean squared error under the square: {error:.4f}. Pictures: {result.path / 'samples'}")
    return result.path


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
