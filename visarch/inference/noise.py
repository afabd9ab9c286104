"""Where the randomness of a finished model's use comes from: the image's number, or the split."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from visarch.training.randomness import StepNoise, derive_seed


def numbered_normal(
    purpose: str, seed: int, numbers: Iterable[int], shape: Sequence[int]
) -> Tensor:
    """Standard normal numbers of which each image's come from a generator of its own.

    So they depend on neither the device nor the other images. Shapes: (b, *shape), on the CPU.
    """
    draws = []
    for number in numbers:
        generator = torch.Generator().manual_seed(derive_seed(purpose, seed, number))
        draws.append(torch.randn(*shape, generator=generator))
    return torch.stack(draws)


def evaluation_noise(model: nn.Module, split: str, seed: int) -> StepNoise:
    """The noise that a training run with this seed evaluates a split with."""
    return StepNoise(derive_seed(f"evaluate {split}", seed), 0, 1, device=device_of(model))


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie."""
    return next(model.parameters()).device
