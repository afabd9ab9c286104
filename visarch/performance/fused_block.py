"""ResBlockU in as few passes over memory as a GPU takes."""

from torch import Tensor
from torch.nn import functional

from visarch.blocks.normalization import GroupNorm
from visarch.models.unet import ResBlockU
from visarch.performance.fused_norm import group_norm_swish


class FusedResBlockU(ResBlockU):
    """ResBlockU whose norms take swish along, the second one the context and dropout as well.

    Equal to ResBlockU but for rounding and for the numbers that dropout draws. (On a CPU, two
    passes of torch's operators are faster than the one of them that there would be.)
    """

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        z1 = self.conv1(_norm_swish(self.norm1, x))
        context = self.context(functional.silu(u))
        # where several processes share a batch, dropout is theirs to draw together
        is_shared = "forward" in vars(self.dropout)
        dropout = self.dropout.p if self.dropout.training and not is_shared else 0.0
        h = _norm_swish(self.norm2, z1, context=context, dropout=dropout)
        z3 = self.conv2(self.dropout(h) if is_shared else h)
        return z3 + self.shortcut(x)


def _norm_swish(
    norm: GroupNorm, x: Tensor, *, context: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    return group_norm_swish(
        x,
        norm.weight,
        norm.bias,
        norm.num_groups,
        epsilon=norm.epsilon,
        context=context,
        dropout=dropout,
    )
