"""Residual blocks that write activations and sums where their inputs were.

What a BatchNorm gives is needed by nothing but the ReLU or the sum that follows, not even by
gradients. A pass in place reads and writes the same memory, in place of a piece more that the cache
has to hold.
"""

from torch import Tensor
from torch.nn import functional

from visarch.blocks.residual import BottleneckBlock, ResidualBlock


class FastResidualBlock(ResidualBlock):
    """ResidualBlock, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        u = _relu(self.norm1(self.conv1(x)))
        z = self.norm2(self.conv2(self.dropout(u)))
        return _relu(z.add_(self.shortcut(x)))


class FastBottleneckBlock(BottleneckBlock):
    """BottleneckBlock, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        z1 = self.norm1(self.conv1(x))
        z2 = self.norm2(self.conv2(_relu(z1)))
        z3 = self.norm3(self.conv3(self.dropout(_relu(z2))))
        return _relu(z3.add_(self.shortcut(x)))


def _relu(x: Tensor) -> Tensor:
    return functional.relu(x, inplace=True)
