"""A batch shared by several processes, seen by BatchNorm and dropout as one process would see it.

All else in a network treats each sample on its own, and the noise of a task is drawn for the whole
batch anyway, so that these two are what it takes for several processes to do what one does.
"""

from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules._functions import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from visarch.blocks.normalization import BatchNorm
from visarch.performance.uncompiled import uncompiled
from visarch.training.batchnorm import Moments

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def share_batch(model: nn.Module) -> None:
    """Let a model's BatchNorms and dropouts treat the batches of all processes as one batch.

    What they are, hold and do in eval mode stays the same. In training mode, all processes of the
    default group must from now on do every step together, with batches of equal size and torch's
    generator seeded alike.

    Raises:
        ValueError: a module mixes samples or draws masks in a way that is not known here.
    """
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm):
            module.forward = partial(_batch_norm, module, module.epsilon)  # type: ignore[method-assign]
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.forward = partial(_batch_norm, module, module.eps)  # type: ignore[method-assign]
        elif isinstance(module, _DROPOUTS):
            module.forward = partial(_dropout, module)  # type: ignore[method-assign]
        elif isinstance(module, _BatchNorm | _DropoutNd):
            raise ValueError(
                f"{name} ({module}) cannot work on a batch that several processes share: take a "
                "BatchNorm with running statistics, or nn.Dropout"
            )


def _dropout(dropout: nn.Module, x: Tensor) -> Tensor:
    """This process's part of what dropout makes of the whole batch.

    The mask is drawn in the memory format of x, as one process would: torch fills it in the order
    of memory.
    """
    if not dropout.training:
        return type(dropout).forward(dropout, x)
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    axes = sorted(range(1, x.ndim), key=x.stride, reverse=True)  # in the order of memory
    whole = x.new_ones(world_size * len(x), *(x.shape[axis] for axis in axes))
    whole = whole.permute(0, *(1 + axes.index(axis) for axis in range(1, x.ndim)))
    mask = type(dropout).forward(dropout, whole)
    return x * mask.chunk(world_size)[rank].clone()  # a view would keep all of it for the gradient


@uncompiled
def _batch_norm(norm: BatchNorm | _BatchNorm, epsilon: float, x: Tensor) -> Tensor:
    """Batch norm with μ and σ of the whole batch, which also enter the moving averages."""
    if not norm.training:
        return type(norm).forward(norm, x)  # type: ignore[arg-type]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    if x.device.type != "cpu":  # torch has it for accelerators alone
        return SyncBatchNorm.apply(
            x,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            epsilon,
            momentum,
            distributed.group.WORLD,
            distributed.get_world_size(),
        )
    count, mean, variance = _moments_of_all(x.detach(), norm.running_mean)
    with torch.no_grad():
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
    return _Normalize.apply(x, norm.weight, norm.bias, mean, variance, count, epsilon)


def _moments_of_all(x: Tensor, like: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean and variance, per channel, of what all processes hold."""
    # with moving averages beside it, which here are let go of, bf16 is summed in full precision
    averages = like.clone(), like.clone()
    mean, variance = torch.batch_norm_update_stats(x, *averages, momentum=0.0)
    count = x.numel() // x.shape[1]
    ours = torch.stack([torch.full_like(mean, count), mean, variance]).double()
    all_of_them = [torch.empty_like(ours) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_of_them, ours)
    whole = reduce(add, (Moments(int(n[0]), mean, variance) for n, mean, variance in all_of_them))
    return whole.count, whole.mean.to(like), whole.variance.to(like)


class _Normalize(torch.autograd.Function):
    """y = γ x̂ + β,  x̂ = (x − μ) / σ, where μ and σ² + ε are moments of what all processes hold.

    With N values on all processes together,

        ∂x = γ/σ (∂y − Σ∂y / N − x̂ Σ(∂y x̂) / N),   ∂γ = Σ(∂y x̂),   ∂β = Σ∂y.

    The sums in ∂x run over all processes, whose losses all depend on this x; those in ∂γ and ∂β
    over this one, as the gradients of weights are brought together later.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        epsilon: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.epsilon = count, epsilon
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, epsilon, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        # as if μ and σ were constants: γ/σ ∂y, Σ(∂y x̂), Σ∂y
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.epsilon, [True] * 3
        )
        sums = torch.stack([of_weight, of_bias]).double()
        distributed.all_reduce(sums)
        scale = (variance + ctx.epsilon).rsqrt() / ctx.count
        if weight is not None:
            scale = scale * weight
        slope, shift = (sums * scale).to(mean)
        through_moments = torch.batch_norm(
            x, slope, shift, mean, variance, False, 0.0, ctx.epsilon, False
        )
        if weight is None:
            of_weight = of_bias = None
        return direct.sub_(through_moments), of_weight, of_bias, None, None, None, None
