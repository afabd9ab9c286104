"""Describing the three networks: which submodules make which step of the note."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, TransConv
from visarch.blocks.normalization import Normalization
from visarch.describe.description import Description, Step, symbol, times
from visarch.describe.measurement import Measurement
from visarch.describe.receptive_field import EVERYTHING, IMAGE, NOTHING, through
from visarch.models import unet
from visarch.models.resnet import ResNet, ResNetConfig
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianVAE, VAEConfig

_DEFAULT_SIDE = 32  # of the note's images


def describe(model: nn.Module, image_size: int | Sequence[int] | None = None) -> Description:
    """The steps of a ResNet, U-Net, denoiser or Gaussian VAE; the model itself is not touched.

    Args:
        model: the network, on any device.
        image_size: the image's sides, or one number for all of them; 32 unless given. A VAE is
            made for one size and has no other.

    Raises:
        ValueError: for a size that the network cannot take, or a network of another kind.
    """
    if not isinstance(model, ResNet | UNet | Denoiser | GaussianVAE):
        raise ValueError(
            f"a {type(model).__name__} cannot be described: that takes a ResNet, UNet, Denoiser "
            "or GaussianVAE, whose steps have names"
        )
    shape = _input_shape(model, image_size)
    try:
        if isinstance(model, ResNet):
            architecture, network = "ResNet", _resnet_name(model.config)
            steps = _resnet_steps(model, shape)
        elif isinstance(model, GaussianVAE):
            architecture, network = "GaussianVAE", "Gaussian VAE"
            steps = _vae_steps(model)
        else:
            plain = isinstance(model, UNet)
            architecture, network = ("UNet", "U-Net") if plain else ("Denoiser", "Denoiser")
            steps = _unet_steps(model, shape)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise ValueError(f"images of {times(shape)} are more than torch can count") from error
    weights = model.state_dict().values()
    return Description(
        network=network,
        architecture=architecture,
        input_shape=shape,
        steps=tuple(steps),
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
    )


def _resnet_steps(model: ResNet, shape: tuple[int, ...]) -> list[Step]:
    """z, z₁ … z₄ and y (note, section 2.1), and the classes where there is a classifier."""
    config, measurement = model.config, Measurement(model)
    x = measurement.input(*shape)
    measurement.network(x)
    stages = measurement.network.stages(x)

    boxes, field = [_words(model.conv), "BatchNorm", "ReLU"], None
    if config.stem == "large":
        boxes.append(f"MaxPool {_window(3, config.ndim)} S=2")
        field = through(model.conv, IMAGE).through_window(3, 2, 1)
    measurement.add("z", boxes, ["x"], ["conv", "norm"], shape=stages["z"].shape[1:], field=field)

    before, block = "z", "ResBlockRes" if config.block == "bottleneck" else "ResidualBlock"
    for index, depth in enumerate(config.depths):
        boxes = [f"{block} S=2" if index > 0 else block]
        measurement.add(f"z{index + 1}", boxes, [before], [f"stacks.{index}"], repeats=depth)
        before = f"z{index + 1}"

    measurement.add("y", ["AvgPool"], [before], shape=stages["y"].shape[1:], field=EVERYTHING)
    if model.classifier is not None:
        boxes = ["Dropout", "Linear"] if config.dropout else ["Linear"]
        measurement.add("classes", boxes, ["y"], ["classifier"])
    return measurement.steps


def _unet_steps(model: UNet | Denoiser, shape: tuple[int, ...]) -> list[Step]:
    """z₁ … z₁₂, y₁₃ … y₁ and y (note, section 2.2), after u where a denoiser makes it itself."""
    measurement = Measurement(model)
    x = measurement.input(*shape)
    if isinstance(model, Denoiser):
        net, prefix, context = model.unet, "unet.", model.context
        vector = None if context.vector_dim is None else measurement.input(context.vector_dim)
        y = measurement.network(x, measurement.input(), vector=vector)
        inputs = ["t"]
        if context.label is not None:
            inputs.append("label")
        if vector is not None:
            inputs.append("vector")
        measurement.add("u", ["ContextEmbedding"], inputs, ["context"], field=NOTHING)
    else:
        net, prefix = model, ""
        y = measurement.network(x, measurement.input(model.config.context_dim))

    before = "x"
    for name, module in net.descend.items():
        inputs = [before, "u"] if isinstance(module, unet.Step) else [before]
        measurement.add(name, _boxes(module), inputs, [f"{prefix}descend.{name}"])
        before = name
    for name, module in net.ascend.items():
        boxes, inputs = _boxes(module), [before]
        if isinstance(module, unet.Step):  # beside it, the z of its own number
            beside = "z" + name.removesuffix("_bar")[1:]
            boxes, inputs = [f"{symbol(before)} ⊕ {symbol(beside)}", *boxes], [before, beside]
        if not isinstance(module, TransConv):
            inputs.append("u")
        measurement.add(name, boxes, inputs, [f"{prefix}ascend.{name}"])
        before = name
    boxes, parts = ["GroupNorm", "swish", _words(net.conv)], [f"{prefix}norm", f"{prefix}conv"]
    measurement.add("y", boxes, [before], parts, shape=y.shape[1:])  # padding cropped off again
    return measurement.steps


def _vae_steps(model: GaussianVAE) -> list[Step]:
    """f_in, h, f_mean and f_var of the encoder, z, and the same four of the decoder (lecture)."""
    config, measurement = model.config, Measurement(model)
    mean, sigma, posterior = measurement.network(measurement.input(*config.image_shape))

    block = "ResidualBlock" if config.block == "residual" else "BottleneckBlock"
    if config.kernel_size != 3:
        block += f" {_window(config.kernel_size, config.ndim)}"
    h = [block] if config.depth else ["identity"]
    to_scale = "exp" if config.covariance == "diagonal" else "Cholesky factor"

    def add(name: str, boxes: list[str], source: str, shape: Sequence[int] | None = None) -> None:
        repeats = max(config.depth, 1) if name.endswith(".h") else 1
        measurement.add(name, boxes, [source], [name], repeats=repeats, shape=shape)

    add("encoder.f_in", [_words(model.encoder.f_in)], "x")
    add("encoder.h", h, "encoder.f_in")
    add("encoder.f_mean", ["Linear"], "encoder.h")
    add("encoder.f_var", ["Linear", to_scale], "encoder.h", posterior.scale.shape[1:])
    heads = ["encoder.f_mean", "encoder.f_var"]
    measurement.add("z", ["f_mean + f_var ε"], heads, shape=posterior.mean.shape[1:])
    add("decoder.f_in", ["Linear"], "z", config.grid_shape)  # which its output is laid out in
    add("decoder.h", h, "decoder.f_in")
    add("decoder.f_mean", [_words(model.decoder.f_mean)], "decoder.h", mean.shape[1:])
    if config.sigma == "predicted":
        add("decoder.f_var", ["Linear", "exp"], "decoder.h")
    else:
        box = "learned number" if config.sigma == "learned" else "constant"
        parts, shape = ["decoder.log_sigma"], sigma.shape[1:2]
        measurement.add("decoder.f_var", [box], [], parts, shape=shape, field=NOTHING)
    return measurement.steps


def _boxes(module: nn.Module) -> list[str]:
    """A step of the U-Net in words."""
    if isinstance(module, unet.Turn):
        return [*_boxes(module.first), *_boxes(module.second)]
    if not isinstance(module, unet.Step):
        return [_words(module)]
    attention = module.attention
    if isinstance(attention, unet.ResidualAttn):
        normalized = isinstance(attention.norm, Normalization)
        return ["ResBlockU", "x + Attn(GroupNorm(x))" if normalized else "x + Attn(x)"]
    return ["ResBlockU", "Attn"] if isinstance(attention, Attn) else ["ResBlockU"]


def _words(module: nn.Module) -> str:
    """A convolution in words: Conv 3×3 S=2."""
    assert isinstance(module, Conv | TransConv)
    kind = "TransConv" if isinstance(module, TransConv) else "Conv"
    stride = f" S={module.stride}" if module.stride > 1 else ""
    return f"{kind} {_window(module.kernel_size, module.ndim)}{stride}"


def _window(side: int, ndim: int) -> str:
    return "×".join([str(side)] * ndim)


def _resnet_name(config: ResNetConfig) -> str:
    """ResNet-50: 50 layers are the stem, every block's convolutions and the classifier on top."""
    convolutions = 3 if config.block == "bottleneck" else 2
    return f"ResNet-{convolutions * sum(config.depths) + 2}"


def _input_shape(
    model: ResNet | UNet | Denoiser | GaussianVAE, image_size: int | Sequence[int] | None
) -> tuple[int, ...]:
    """(C, H, …) of the images that a network is described for.

    Raises:
        ValueError: if the network takes no such images.
    """
    config = model.config
    if isinstance(config, VAEConfig):
        own = tuple(config.image_shape)
        if image_size is not None and _sides(image_size, config.ndim) != own[1:]:
            raise ValueError(
                f"this VAE's linear layers are made for images of {times(own[1:])}: it cannot "
                f"be described for {times(_sides(image_size, config.ndim))}"
            )
        return own
    image_size = _DEFAULT_SIDE if image_size is None else image_size
    return config.in_channels, *_sides(image_size, config.ndim)


def _sides(image_size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The image's sides, one for each axis.

    Raises:
        ValueError: if there are more or fewer of them, or one is below 1.
    """
    sides = (image_size,) * ndim if isinstance(image_size, int) else tuple(image_size)
    if len(sides) == 1:
        sides *= ndim
    if len(sides) != ndim:
        raise ValueError(
            f"image size {times(sides)} has {len(sides)} sides: a {ndim}-d network takes {ndim}, "
            "or one number for all of them"
        )
    if min(sides) < 1:
        raise ValueError(f"image size {times(sides)} leaves no pixel: a side is at least 1")
    return sides
