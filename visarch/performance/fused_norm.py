"""GroupNorm followed by swish, in few passes over memory."""

import importlib.util
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_HAS_TRITON = importlib.util.find_spec("triton") is not None


def group_norm_swish(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    num_groups: int,
    *,
    epsilon: float = 1e-5,
    context: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """y = Dropout(swish(GroupNorm(x + context))), swish(h) = h σ(h).

    For the gradient, x + context is kept, with μ and 1 / σ of each group; the rest is computed
    again. Statistics are taken in fp32 at least; y has the format and the memory format of x,
    also under autocast.

    Shapes: x (b, C, *spatial), weight γ and bias β (C,), context (b, C) → as x.

    Args:
        x: what is normalized.
        weight: γ.
        bias: β.
        num_groups: G.
        epsilon: ε, added to the variance.
        context: what is added to every pixel before, or none.
        dropout: probability of dropping a number of y, drawn from torch's generator of the device.

    Raises:
        ValueError: if G does not divide C, or γ, β or context have other shapes.
    """
    _check(x, weight, bias, num_groups, context)
    if _has_kernels(x):
        from visarch.performance import triton_norm

        if triton_norm.suits(x):
            seed = torch.randint(2**63 - 1, (1,), device=x.device) if dropout else None
            return triton_norm.group_norm_swish(
                x, context, weight, bias, seed, num_groups, epsilon, dropout
            )[0]

    if context is not None:
        x = x + context.to(x.dtype).view(*context.shape, *(1,) * (x.ndim - 2))
    precise = torch.promote_types(x.dtype, torch.float32)
    weight, bias = weight.to(precise), bias.to(precise)
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        # a compiler fuses what it can look into
        h = torch.group_norm(x.to(precise), num_groups, weight, bias, epsilon)
        y = functional.silu(h).to(x.dtype)
    else:
        y = _GroupNormSwish.apply(_arranged(x), weight, bias, num_groups, epsilon)
    return functional.dropout(y, dropout) if dropout else y


def _has_kernels(x: Tensor) -> bool:
    return x.device.type == "cuda" and _HAS_TRITON


def _arranged(x: Tensor) -> Tensor:
    """x in one of the layouts that torch's operator takes."""
    dense = x.is_contiguous() or (x.ndim > 3 and x.movedim(1, -1).is_contiguous())
    return x if dense else x.contiguous()


class _GroupNormSwish(torch.autograd.Function):
    """swish(GroupNorm(x)), with γ and β in fp32 at least.

    ∂h = ∂y σ(h) (1 + h (1 − σ(h))), and the gradients of x, γ and β are group norm's for ∂h.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, epsilon: float
    ) -> Tensor:
        ctx.sizes = *x.shape[:2], math.prod(x.shape[2:]), num_groups
        h, mean, inverse = torch.ops.aten.native_group_norm(x, weight, bias, *ctx.sizes, epsilon)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.epsilon = epsilon
        return functional.silu(h, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        h = torch.ops.aten.native_group_norm(x, weight, bias, *ctx.sizes, ctx.epsilon)[0]
        of_h = torch.ops.aten.silu_backward.grad_input(of_y, h, grad_input=h)
        of_x, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            of_h, x, mean, inverse, weight, *ctx.sizes, [True] * 3
        )
        return of_x, of_weight, of_bias, None, None


def _check(
    x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, context: Tensor | None
) -> None:
    channels = x.shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"group_norm_swish: {num_groups} groups do not divide {channels} channels")
    for name, tensor, shape in (
        ("weight", weight, (channels,)),
        ("bias", bias, (channels,)),
        ("context", context, (x.shape[0], channels)),
    ):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"group_norm_swish was given a {name} of shape {tuple(tensor.shape)} for an input "
                f"of shape {tuple(x.shape)}: it must be {tuple(shape)}"
            )
