"""The power-function average of the weights: what is evaluated, sampled and exported."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from visarch.training.sharding import local


def gamma_of_width(width: float) -> float:
    """γ of the profile whose standard deviation is `width`, relative to the length of training.

    The profile weights the weights of time τ ∈ [0, 1] by (γ + 1) τ^γ, and

        width² = (γ + 1) / ((γ + 2)² (γ + 3)),

    so γ is the largest real root of γ³ + (7) γ² + (16 − width⁻²) γ + 12 − width⁻².

    Raises:
        ValueError: width outside (0, 0.28], where γ ≥ 0.
    Source: Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion Models,
        equation 123.
    """
    if not 0 < width <= 0.28:
        raise ValueError(f"width is {width}; it must be above 0 and at most 0.28")
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class PowerEma:
    """The average θ̂ of a model's weights θ over training, with buffers, as a model of its own.

        θ̂_t = β_t θ̂_{t−1} + (1 − β_t) θ_t,   β_t = (1 − 1/t)^{γ+1}

    β_1 = 0, so initial weights are forgotten at once; the profile stretches with t, so the length
    of training need not be known. Parameters and stored floating buffers (BatchNorm's statistics)
    are averaged; all other buffers are copied.

    Args:
        model: what is trained.
        width: of the profile, relative to the length of training.
        copied: makes a copy of it, with tensors of its own.

    Source: Karras et al. 2024, section 3.1.
    """

    def __init__(
        self,
        model: nn.Module,
        width: float,
        copied: Callable[[nn.Module], nn.Module] = copy.deepcopy,
    ) -> None:
        self.gamma = gamma_of_width(width)
        self.updates = 0
        self.model = copied(model).eval().requires_grad_(False)
        self._averaged = _pairs(self.model, model, averaged=True)
        self._copied = _pairs(self.model, model, averaged=False)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights as they are now."""
        self.updates += 1
        # 1 − (1 − 1/t)^(γ+1) without cancellation for large t
        step = (
            -math.expm1((self.gamma + 1) * math.log1p(-1 / self.updates))
            if self.updates > 1
            else 1.0
        )
        ours, theirs = self._averaged
        torch._foreach_lerp_(local(ours), local(theirs), step)
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)


def _pairs(
    average: nn.Module, model: nn.Module, *, averaged: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of both models, side by side: those to average, or those to copy."""
    stored = model.state_dict(keep_vars=True).keys()
    ours, theirs = [], []
    for mine, (name, other) in zip(_tensors(average), _tensors(model), strict=True):
        if (other.is_floating_point() and name in stored) == averaged:
            ours.append(mine[1])
            theirs.append(other)
    return ours, theirs


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]
