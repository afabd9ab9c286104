"""Residual blocks: f(x) + x, with a shape-correcting convolution where the shapes differ.

Sources: lecture, "Deep Residual Convnets" and "A Modern Convnet Block"; note, section 2 and
appendix B.1; He et al. 2016. Convolutions here have no bias: the β of the BatchNorm after each of
them takes its place.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.convolution import Conv, SameConv
from visarch.blocks.normalization import BatchNorm


class ResidualBlock(nn.Module):
    """Residual convolutional block (lecture): two k×k convolutions around a shortcut.

    u = ReLU(BatchNorm(W¹ ∗ Pad(x)));  z = ReLU(x' + BatchNorm(W² ∗ Pad(Drop(u)))),
    with x' = x where the shapes agree and BatchNorm(Conv(x, F = 1, S)) elsewhere.

    Shapes: (b, C, H, …) → (b, C', ⌈H / S⌉, …); C' is C unless given.

    Args:
        channels: C.
        out_channels: C'.
        kernel_size: k.
        stride: S, taken by the first convolution and by the shortcut.
        dropout: probability of dropping an input of the last convolution.
        ndim: number of spatial axes.

    Raises:
        ValueError: as :class:`visarch.Conv`.

    Source: lecture, "Deep Residual Convnets"; shortcut from note, section 2.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dropout: float = 0.0,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        out_channels = channels if out_channels is None else out_channels
        self.conv1 = SameConv(channels, out_channels, kernel_size, stride=stride, ndim=ndim)
        self.norm1 = BatchNorm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = SameConv(out_channels, out_channels, kernel_size, ndim=ndim)
        self.norm2 = BatchNorm(out_channels)
        self.shortcut = _shortcut(channels, out_channels, stride, ndim)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *out"]:
        u = functional.relu(self.norm1(self.conv1(x)))
        z = self.norm2(self.conv2(self.dropout(u)))
        return functional.relu(self.shortcut(x) + z)


class BottleneckBlock(nn.Module):
    """Bottleneck block C → D → D → C' (lecture), which is ResBlockRes of the note for C' = 4D.

    z₁ = BatchNorm(Conv(x, D, F = 1));  z₂ = BatchNorm(Conv(ReLU(z₁), D, F = k, S));
    z₃ = BatchNorm(Conv(Drop(ReLU(z₂)), C', F = 1));  y = ReLU(z₃ + x'),
    with x' = x where the shapes agree and BatchNorm(Conv(x, C', F = 1, S)) elsewhere. The stride
    sits on the k×k convolution.

    Shapes: (b, C, H, …) → (b, C', ⌈H / S⌉, …); C' is C unless given.

    Args:
        in_channels: C.
        inner_channels: D, the lecture's inner capacity (the note's C').
        out_channels: C'.
        kernel_size: k.
        stride: S.
        dropout: probability of dropping an input of the last convolution.
        ndim: number of spatial axes.

    Raises:
        ValueError: as :class:`visarch.Conv`.

    Source: lecture, "A Modern Convnet Block" (C = 256, D = 64, k = 3); note, appendix B.1.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        out_channels: int | None = None,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dropout: float = 0.0,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        self.conv1 = Conv(in_channels, inner_channels, 1, bias=False, ndim=ndim)
        self.norm1 = BatchNorm(inner_channels)
        self.conv2 = SameConv(inner_channels, inner_channels, kernel_size, stride=stride, ndim=ndim)
        self.norm2 = BatchNorm(inner_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv3 = Conv(inner_channels, out_channels, 1, bias=False, ndim=ndim)
        self.norm3 = BatchNorm(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride, ndim)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *out"]:
        z1 = self.norm1(self.conv1(x))
        z2 = self.norm2(self.conv2(functional.relu(z1)))
        z3 = self.norm3(self.conv3(self.dropout(functional.relu(z2))))
        return functional.relu(z3 + self.shortcut(x))


def _shortcut(in_channels: int, out_channels: int, stride: int, ndim: int) -> nn.Module:
    """x' of the residual connection: x itself, or the convolution that corrects its shape."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        Conv(in_channels, out_channels, 1, stride=stride, bias=False, ndim=ndim),
        BatchNorm(out_channels),
    )
