"""BatchNorm folded into the convolution before it, as both are one convolution in eval mode."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from visarch.blocks.convolution import Conv
from visarch.blocks.normalization import BatchNorm


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy of a model in eval mode, each BatchNorm folded into the convolution before it.

    With s = γ / √(running_var + ε), BatchNorm(Conv(x)) in eval mode is the convolution with

        W'_o = s_o W_o,   b'_o = β_o + s_o (b_o − running_mean_o),

    computed in float64 and rounded once; ``nn.Identity`` is left where the BatchNorm was. In the
    models of this package a BatchNorm is registered right after the convolution that it follows,
    which is how they are found. All other tensors are shared with the model, which stays as it is.
    """
    tensors = [*model.parameters(), *model.buffers()]
    folded = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
    for parent in list(folded.modules()):
        for (_, conv), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, Conv) and isinstance(norm, BatchNorm):
                conv.weight, conv.bias = _folded(conv, norm)
                setattr(parent, name, nn.Identity())
    return folded


@torch.no_grad()
def _folded(conv: Conv, norm: BatchNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """W' and b', in the precision of W."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.epsilon).sqrt()
    weight = scale.view(-1, *(1,) * (conv.weight.ndim - 1)) * conv.weight.double()
    bias: Tensor | float = 0.0 if conv.bias is None else conv.bias.double()
    bias = norm.bias.double() + scale * (bias - norm.running_mean.double())
    dtype = conv.weight.dtype
    return _constant(weight.to(dtype)), _constant(bias.to(dtype))


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
