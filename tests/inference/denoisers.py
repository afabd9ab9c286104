"""Small denoisers with random weights, and recipes for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from visarch.inference.recipe import Recipe
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser

RECIPE = Recipe(
    prediction="v",
    schedule="cosine",
    shift=0.0,
    weighting="simple",
    sampler="dpm++",
    steps=4,
    guidance=1.0,
    precision="fp32",
    label_dropout=0.1,
)
SHAPE = (2, 7, 6)


def denoiser(
    shape: tuple[int, ...] = SHAPE,
    *,
    num_classes: int | None = 3,
    vector_dim: int | None = None,
    learned_variance: bool = False,
) -> Denoiser:
    torch.manual_seed(0)
    config = UNetConfig(
        in_channels=shape[0],
        out_channels=2 * shape[0] if learned_variance else None,
        widths=(8, 16),
        num_blocks=1,
        attends=(False, True),
        attention="prenorm",
        num_groups=4,
        dropout=0.1,
        context_dim=16,
        ndim=len(shape) - 1,  # type: ignore[arg-type]
    )
    return Denoiser(config, num_classes=num_classes, vector_dim=vector_dim).eval()


def recipe(**changes: Any) -> Recipe:
    return replace(RECIPE, **changes)


def of_vectors() -> Recipe:
    """A recipe for vectors of two numbers around 5 and −1."""
    examples = ((0, (5.0, -1.0)), (2, (6.0, 0.0)))
    return recipe(vector_mean=(5.0, -1.0), vector_deviation=(2.0, 0.5), examples=examples)
