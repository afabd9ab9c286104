"""The blocks of the networks on packed layers: as few passes over the activations as it takes."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, TransConv
from visarch.blocks.normalization import GroupNorm
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.resnet import ResNet
from visarch.models.unet import ResBlockU
from visarch.performance.packing import PackedConv, PackedLinear, PackedTransConv


def heavy_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that nearly all time is spent in, and whose precision can be chosen.

    Other linear layers (classifiers, embeddings, those that give a VAE its logarithms) are small or
    must be exact.
    """
    for module in model.modules():
        if isinstance(module, Conv | TransConv):
            yield module
        elif isinstance(module, Attn):
            yield from (module.projection, module.output)
        elif isinstance(module, ResBlockU):
            yield module.context


def own_tensors(model: nn.Module, precision: torch.dtype) -> None:
    """Copy all tensors of a model, the heavy layers' into a precision and the others in float32."""
    heavy = set(heavy_layers(model))
    for module in model.modules():
        dtype = precision if module in heavy else torch.float32
        for name, parameter in module.named_parameters(recurse=False):
            own = parameter.detach().to(dtype, copy=True)
            setattr(module, name, nn.Parameter(own, requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(dtype, copy=True))


def pack(module: nn.Module) -> None:
    """Put packed blocks and layers in the place of the heavy ones, BatchNorms folded before."""
    if isinstance(module, ResNet):
        module.conv = PackedConv(module.conv, activation="relu")  # type: ignore[assignment]
    for name, child in module.named_children():
        packed = _packed(child)
        if packed is None:
            pack(child)
        else:
            setattr(module, name, packed)


def _packed(module: nn.Module) -> nn.Module | None:
    """What takes the place of a module, if it is one of those below."""
    if isinstance(module, ResidualBlock | BottleneckBlock):
        return PackedResidual(module)
    if isinstance(module, ResBlockU):
        return PackedResBlockU(module)
    if isinstance(module, Attn):
        return PackedAttn(module)
    if isinstance(module, Conv):
        return PackedConv(module)
    if isinstance(module, TransConv):
        return PackedTransConv(module)
    return None


class PackedResidual(nn.Module):
    """ResidualBlock or BottleneckBlock with its BatchNorms folded: two or three convolutions.

    The last of them adds the shortcut and takes the ReLU. Shapes: (b, C, H, W) → (b, C', H', W').
    """

    def __init__(self, block: ResidualBlock | BottleneckBlock) -> None:
        super().__init__()
        own = [module for module in block.children() if isinstance(module, Conv)]
        *first, last = (PackedConv(conv, activation="relu") for conv in own)
        self.first, self.last = nn.Sequential(*first), last
        self.shortcut = _packed_shortcut(block.shortcut)
        self.precision = last.precision

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.precision, memory_format=torch.channels_last)
        return self.last(self.first(x), x if self.shortcut is None else self.shortcut(x))


class PackedResBlockU(nn.Module):
    """ResBlockU on packed layers. It takes swish(u), which all blocks share, in place of u.

    Shapes: (b, C, H, W), (b, d) → (b, C', H, W).
    """

    def __init__(self, block: ResBlockU) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.conv1 = PackedConv(block.conv1)
        self.conv2 = PackedConv(block.conv2)
        self.context = PackedLinear(block.context)
        self.shortcut = _packed_shortcut(block.shortcut)

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        context = self.context(activated)[:, :, None, None]
        z2 = self.conv1(norm_swish(self.norm1, x), context)
        added = x if self.shortcut is None else self.shortcut(x)
        return self.conv2(norm_swish(self.norm2, z2), added)


class PackedAttn(nn.Module):
    """Attn on packed layers. Shapes: (b, C, H, W) → (b, C, H, W), in channels_last."""

    def __init__(self, attn: Attn) -> None:
        super().__init__()
        self.projection = PackedLinear(attn.projection)
        self.output = PackedLinear(attn.output)
        self.heads = 3, attn.num_heads, attn.head_dim

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (b, n, C), the order in memory
        projected = self.projection(pixels).unflatten(2, self.heads)  # (b, n, 3, K, d)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (b, K, n, d)

        attended = functional.scaled_dot_product_attention(query, key, value)
        output = self.output(attended.transpose(1, 2).flatten(2))  # (b, n, C)
        return output.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def norm_swish(norm: GroupNorm, x: Tensor) -> Tensor:
    """swish(GroupNorm(x))."""
    y = torch.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.epsilon)
    return functional.silu(y, inplace=True)


def _packed_shortcut(shortcut: nn.Module) -> PackedConv | None:
    """The convolution of a shortcut that has one."""
    convs = [module for module in shortcut.modules() if isinstance(module, Conv)]
    return PackedConv(convs[0]) if convs else None
