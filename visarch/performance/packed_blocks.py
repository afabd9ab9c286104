"""The blocks of the networks on packed layers: as few passes over the activations as it takes."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, TransConv, crop
from visarch.blocks.normalization import GroupNorm
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.resnet import ResNet
from visarch.models.unet import ResBlockU
from visarch.models.vae import GaussianDecoder, check_latents
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
        elif isinstance(module, GaussianDecoder):
            yield module.f_in


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
    if isinstance(module, GroupNorm):
        return PackedGroupNorm(module)
    if isinstance(module, Attn):
        return PackedAttn(module)
    if isinstance(module, GaussianDecoder):
        return PackedDecoder(module)
    if isinstance(module, Conv):
        return PackedConv(module)
    if isinstance(module, TransConv):
        return PackedTransConv(module)
    return None


class PackedResidual(nn.Module):
    """ResidualBlock or BottleneckBlock with its BatchNorms folded: two or three convolutions.

    The last of them adds the shortcut, takes the ReLU, and writes over what it added: x may not be
    used again. Shapes: (b, C, H, W) → (b, C', H', W').
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
        z = self.first(x)
        return self.last(z, x if self.shortcut is None else self.shortcut(x), reuse=True)


class PackedResBlockU(nn.Module):
    """ResBlockU on packed layers. It takes swish(u), which all blocks share, in place of u.

    Shapes: (b, C, H, W), (b, d) → (b, C', H, W).
    """

    def __init__(self, block: ResBlockU) -> None:
        super().__init__()
        self.norm1, self.norm2 = map(PackedGroupNorm, (block.norm1, block.norm2))
        self.conv1 = PackedConv(block.conv1)
        self.conv2 = PackedConv(block.conv2)
        self.context = PackedLinear(block.context)
        self.shortcut = _packed_shortcut(block.shortcut)

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        context = self.context(activated)[:, :, None, None]
        z2 = self.conv1(norm_swish(self.norm1, x), context)
        z3 = norm_swish(self.norm2, z2)
        if self.shortcut is None:
            return self.conv2(z3, x)  # which goes over to the ascent as well
        return self.conv2(z3, self.shortcut(x), reuse=True)


class PackedGroupNorm(nn.Module):
    """GroupNorm in channels_last, in float32 where torch's kernel is several times as slow in bf16.

    That goes over the channels of a group pixel by pixel, and in maps of 1,024 pixels and more over
    all channels; it takes numbers one by one where these do not fill vectors.

    Shapes: (b, C, H, W) → (b, C, H, W).
    """

    def __init__(self, norm: GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.num_groups, self.epsilon = norm.num_groups, norm.epsilon

    def forward(self, x: Tensor) -> Tensor:
        channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
        together = channels if pixels >= 1024 else channels // self.num_groups
        if together % 16:
            x = x.float()
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.epsilon)


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


class PackedDecoder(nn.Module):
    """GaussianDecoder on packed layers, in channels_last throughout.

    f_in gives the grid in this order. Where that takes fewer products, the first convolution of h,
    up to its ReLU, becomes a matrix of its own: conv1 ∘ f_in, which is linear in z. The windows of
    f_mean do not overlap, and where it costs little, one product gives those of a whole row.

    Shapes: z (b, Z) → mean (b, C, H, W) and σ (b, 1, 1, 1).
    """

    def __init__(self, decoder: GaussianDecoder) -> None:
        super().__init__()
        self.config, self.precision = decoder.config, decoder.f_in.weight.dtype
        place = torch.arange(math.prod(self.config.grid_shape)).view(self.config.grid_shape)
        self.order = place.permute(1, 2, 0).flatten()  # of the grid's numbers in channels_last
        self.f_in = self._from_latents(decoder.f_in.weight, decoder.f_in.bias)
        self.conv1: PackedLinear | None = None
        if _starts_linear(decoder):
            self.conv1 = self._from_latents(*_first_convolution(decoder), activation="relu")
        self.h = decoder.h
        pack(self.h)
        weight, bias, self.group = _of_rows(decoder)
        self.f_mean = PackedLinear(_linear(weight, bias))
        if self.config.sigma == "predicted":
            self.f_var = _linear(decoder.f_var.weight[:, self.order], decoder.f_var.bias)
        else:
            self.log_sigma = decoder.log_sigma

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        check_latents(z, config)
        latents = z.to(self.precision)
        grid = self._grid(self.f_in(latents))
        if self.conv1 is None:
            y = self.h(grid)
        else:
            first = self.h[0]
            assert isinstance(first, PackedResidual)
            y = self.h[1:](first.last(self._grid(self.conv1(latents)), grid, reuse=True))
        y = y.permute(0, 2, 3, 1)  # (b, H/p, W/p, C), the order in memory
        if config.sigma == "predicted":
            log_sigma = self.f_var(y.flatten(1).float())
        else:
            log_sigma = self.log_sigma.expand(len(z), 1)
        return crop(self._mean(y), config.image_shape[1:]), log_sigma.exp().view(-1, 1, 1, 1)

    def _from_latents(self, weight: Tensor, bias: Tensor, **options: Any) -> PackedLinear:
        """A linear layer from latents to a grid, which it gives in channels_last."""
        linear = _linear(weight[self.order], bias[self.order])
        return PackedLinear(linear.to(self.precision), **options)

    def _grid(self, numbers: Tensor) -> Tensor:
        """(b, H/p · W/p · C) → (b, C, H/p, W/p)."""
        channels, *sides = self.config.grid_shape
        return numbers.view(-1, *sides, channels).permute(0, 3, 1, 2)

    def _mean(self, y: Tensor) -> Tensor:
        """f_mean of some positions of a row at once: (b, H/p, W/p, C) → (b, C_in, H, W)."""
        patch, channels = self.config.patch_size, self.config.image_shape[0]
        height, width = self.config.grid_shape[1:]
        groups = width // self.group
        patches = self.f_mean(y.reshape(-1, height, groups, self.group * y.shape[3]))
        patches = patches.view(-1, height, groups, channels, patch, self.group * patch)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(
            -1, channels, height * patch, width * patch
        )


def _starts_linear(decoder: GaussianDecoder) -> bool:
    """Whether h begins with a convolution that has more products than a matrix of conv1 ∘ f_in."""
    first = next(iter(decoder.h), None)
    return (
        isinstance(first, ResidualBlock)
        and decoder.config.latent_dim < first.conv1.weight[0].numel()
    )


def _first_convolution(decoder: GaussianDecoder) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear map conv1 ∘ f_in."""
    first, f_in = decoder.h[0], decoder.f_in
    assert isinstance(first, ResidualBlock)
    conv1 = copy.deepcopy(first.conv1).float()
    nothing = torch.zeros_like(f_in.bias)
    grids = torch.cat([f_in.weight.T, f_in.bias[None], nothing[None]]).float()
    *columns, at_bias, at_nothing = conv1(grids.view(-1, *decoder.config.grid_shape)).flatten(1)
    return (torch.stack(columns) - at_nothing).T, at_bias


def _of_rows(decoder: GaussianDecoder) -> tuple[Tensor, Tensor, int]:
    """f_mean as a matrix that takes so many positions of a row, and gives their patches side by
    side: all of the row, or one where zeros would make it costlier than a convolution of h."""
    config, f_mean = decoder.config, decoder.f_mean
    channels, patch, width = config.channels, config.patch_size, config.grid_shape[2]
    together = width * config.image_shape[0] * patch**2 <= 9 * channels
    group = width if together else 1
    same = torch.eye(group, dtype=f_mean.weight.dtype)
    weight = torch.einsum("kcab,ij->caibjk", f_mean.weight, same)  # to channel, row, place, column
    assert f_mean.bias is not None
    bias = f_mean.bias.repeat_interleave(patch * group * patch)
    return weight.reshape(-1, group * channels), bias, group


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    num_out, num_in = weight.shape
    linear = nn.Linear(num_in, num_out, device="meta")  # draws no random numbers
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def norm_swish(norm: nn.Module, x: Tensor) -> Tensor:
    """swish(GroupNorm(x))."""
    return functional.silu(norm(x), inplace=True)


def _packed_shortcut(shortcut: nn.Module) -> PackedConv | None:
    """The convolution of a shortcut that has one."""
    convs = [module for module in shortcut.modules() if isinstance(module, Conv)]
    return PackedConv(convs[0]) if convs else None
