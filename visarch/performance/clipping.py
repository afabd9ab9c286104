"""Clipping of gradients by their norm."""

from collections.abc import Sequence

from torch import Tensor, nn


def clip_gradients(parameters: Sequence[Tensor], largest: float) -> Tensor:
    """Scale gradients down, where their norm is larger, to the norm `largest`; returns the norm.

    As ``torch.nn.utils.clip_grad_norm_``, which always multiplies all gradients, if by 1. Where
    asking for the norm waits for no device, they are left alone unless they are too large.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if norm.device.type != "cpu" or not norm <= largest:
        nn.utils.clip_grads_with_norm_([p for p in parameters if p.grad is not None], largest, norm)
    return norm
