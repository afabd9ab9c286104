"""Cross-entropy of a classifier, with smoothed and mixed targets.

    L(z, q) = −Σ_k q_k log softmax(z)_k

for the logits z (K,) and the target distribution q (K,) of one sample, in nats.
"""

import math

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional


def smooth_targets(
    labels: Integer[Tensor, " b"], num_classes: int, smoothing: float = 0.0
) -> Float[Tensor, "b k"]:
    """q_k = (1 − ε) [k = y] + ε / K: the label's class, and a share ε spread over all K.

    A label that is no class has no target: NaN, which no training goes on with. (To look at the
    labels and raise would make each step wait for the device.)

    Raises:
        ValueError: ε does not lie in [0, 1).

    Source: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}: it must lie in [0, 1)")
    chosen = labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device)
    targets = (1 - smoothing) * chosen.float() + smoothing / num_classes
    return targets.masked_fill(~chosen.any(1, keepdim=True), math.nan)


def cross_entropy(
    logits: Float[Tensor, "b k"], targets: Float[Tensor, "b k"]
) -> Float[Tensor, " b"]:
    """−Σ_k q_k log softmax(z)_k of each sample, in nats, computed in float32 at least.

    It is linear in the targets: smoothed and mixed ones (see `visarch.data.augmentation.mixup`)
    give the same mixture of the losses.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -(targets * functional.log_softmax(wide, dim=1)).sum(1)


def is_correct(logits: Float[Tensor, "b k"], targets: Float[Tensor, "b k"]) -> Bool[Tensor, " b"]:
    """Whether the class with the largest logit is the one with the largest share of the target."""
    return logits.argmax(1) == targets.argmax(1)
