"""The normalization template and the four layers that it gives (note, appendices A and A.1).

For every index i = (k, c, pixel) of a batch X,

    μ(i) = mean of X over select(i),   σ(i) = √(mean of (X − μ(i))² over select(i) + ε),
    Y(i) = γ_c (X(i) − μ(i)) / σ(i) + β_c,

and the choice of ``select`` is what tells the layers apart:

    batch     all examples and pixels of one channel
    layer     all channels and pixels of one example
    instance  all pixels of one example and channel
    group     all pixels of one example and of the channel's group, G groups of consecutive channels

:func:`normalize` writes that out; the layers compute the same through torch's fused kernels.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Select = Literal["batch", "layer", "instance", "group"]


def normalize(
    x: Float[Tensor, "b c *spatial"],
    select: Select,
    *,
    num_groups: int | None = None,
    epsilon: float = 1e-5,
) -> Float[Tensor, "b c *spatial"]:
    """Steps 1 and 2 of the template, written out: X̄ = (X − μ) / σ over the selected elements.

    Args:
        x: the batch X.
        select: which elements are normalized together.
        num_groups: G, for ``select="group"`` and for it alone.
        epsilon: ε, added to the variance.

    Raises:
        ValueError: for an unknown select, or G that is missing, superfluous or no divisor of C.

    Source: note, appendix A.1; Wu & He 2018.
    """
    channels = x.shape[1]
    if (select == "group") != (num_groups is not None):
        raise ValueError(f'num_groups is {num_groups} with select="{select}": it goes with "group"')
    if select == "batch":
        axes = [0, *range(2, x.ndim)]
        mean = x.mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes, keepdim=True)
        return (x - mean) / (variance + epsilon).sqrt()
    if select not in ("layer", "instance", "group"):
        raise ValueError(f"select is {select!r}: it must be batch, layer, instance or group")

    groups = {"layer": 1, "instance": channels, "group": num_groups}[select]
    assert groups is not None
    _check_groups("normalize", channels, groups)
    grouped = x.reshape(x.shape[0], groups, -1)  # (b, G, C/G · pixels)
    mean = grouped.mean(2, keepdim=True)
    variance = (grouped - mean).square().mean(2, keepdim=True)
    return ((grouped - mean) / (variance + epsilon).sqrt()).reshape(x.shape)


class Normalization(nn.Module):
    """The template of appendix A.1 with its learnable γ (``weight``) and β (``bias``), both (C,).

    The three selects that stay within one example are all "G groups of consecutive channels":
    layer norm has G = 1, instance norm G = C.

    Shapes: (b, C, …) → (b, C, …), with any number of axes after the channels, none included.

    Raises:
        ValueError: if the input has other channels than γ and β.
    """

    def __init__(self, channels: int, *, num_groups: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        _check_groups(type(self).__name__, channels, num_groups)
        self.channels, self.num_groups, self.epsilon = channels, num_groups, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        self._check_channels(x)
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.epsilon)

    def _check_channels(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"{type(self).__name__} was given an input of shape {tuple(x.shape)}: "
                f"this one takes (batch, {self.channels}, …)"
            )

    def extra_repr(self) -> str:
        return f"{self.channels}, num_groups={self.num_groups}, epsilon={self.epsilon}"


class LayerNorm(Normalization):
    """Layer norm: select(k, c, ·) = all channels and pixels of example k.

    γ and β are per channel, as the template has them, so that this is group norm with one group
    (and not ``torch.nn.LayerNorm((C, H, W))``, whose γ and β are per pixel as well).

    Source: note, appendix A.1; Ba et al. 2016.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__(channels, num_groups=1, epsilon=epsilon)


class InstanceNorm(Normalization):
    """Instance norm: select(k, c, ·) = all pixels of channel c of example k.

    Source: note, appendix A.1.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__(channels, num_groups=channels, epsilon=epsilon)


class GroupNorm(Normalization):
    """Group norm: select(k, c, ·) = all pixels of example k in the channels of c's group.

    Channel c belongs to group ⌊c / (C / G)⌋; the note has G = 32.

    Raises:
        ValueError: if G does not divide C.

    Source: note, appendix A.1; Wu & He 2018.
    """

    def __init__(self, channels: int, *, num_groups: int = 32, epsilon: float = 1e-5) -> None:
        super().__init__(channels, num_groups=num_groups, epsilon=epsilon)


class BatchNorm(Normalization):
    """Batch norm: select(k, c, ·) = channel c of all examples, at all pixels.

    While training, μ and σ are those of the batch, and moving averages are kept of them:
    m ← (1 − momentum) m + momentum · μ, and likewise for the variance (with |S| − 1 in its
    denominator, as torch does). In eval mode the moving averages take the place of μ and σ², and
    the batch is not looked at. Buffers are named as in ``torch.nn.BatchNorm2d``.

    Raises:
        ValueError: while training, if a channel has one value only, whose variance says nothing.

    Source: note, appendix A.1; lecture, "Batch Normalization".
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, *, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, num_groups=channels, epsilon=epsilon)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        self._check_channels(x)
        if self.training:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.epsilon,
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, epsilon={self.epsilon}, momentum={self.momentum}"


def _check_groups(place: str, channels: int, num_groups: int) -> None:
    if channels < 1 or num_groups < 1 or channels % num_groups:
        divisors = [g for g in range(1, channels + 1) if channels % g == 0]
        raise ValueError(
            f"{place}: {num_groups} groups do not divide {channels} channels: "
            f"choose num_groups among {divisors}"
        )
