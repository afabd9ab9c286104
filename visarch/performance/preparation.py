"""A model made fast for a loop of one's own, and its layers for any."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, SameConv
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, ResBlockU, UNet
from visarch.models.vae import GaussianVAE
from visarch.performance import choices
from visarch.performance.dropout import FastDropout
from visarch.performance.fused_block import FusedResBlockU
from visarch.performance.in_place import FastBottleneckBlock, FastResidualBlock
from visarch.performance.inference import ENTRANCES, optimize_for_inference
from visarch.performance.memory import keep_freed_memory
from visarch.performance.outputs import map_tensors
from visarch.performance.small_attention import FastAttn
from visarch.performance.small_maps import FastConv, FastSameConv

_ON_CPU: dict[type[nn.Module], type[nn.Module]] = {
    Attn: FastAttn,
    Conv: FastConv,
    SameConv: FastSameConv,
    nn.Dropout: FastDropout,
    ResidualBlock: FastResidualBlock,
    BottleneckBlock: FastBottleneckBlock,
}
_ON_GPU: dict[type[nn.Module], type[nn.Module]] = {ResBlockU: FusedResBlockU}
_EXACT = (GaussianVAE,)
"""Whose likelihoods take full precision on a CPU."""


def prepare(
    model: nn.Module,
    training: bool = True,
    *,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> nn.Module:
    """Give a model the fast settings of this package, for a loop of one's own.

    For training it is changed in place and returned: its layers take their fast forms (with the
    same parameters, names and state dict), its weights the memory format that suits the device, and
    its methods take any tensors and compute under autocast; they give float32. It must be on its
    device before, and be prepared before an optimizer is made of its parameters. Gradients of
    gradients cannot be had from it.

    For inference this gives ``model.optimize_for_inference()``: a copy.

    Args:
        model: a ResNet, UNet, Denoiser or GaussianVAE.
        training: whether gradients are needed.
        precision: of the heavy operations; "auto" is bf16 where the device has units for it (not
            for a VAE on a CPU, whose likelihood is to be exact), else fp32.

    Raises:
        ValueError: for another model, or a precision that is not known.
    """
    if not isinstance(model, ResNet | UNet | Denoiser | GaussianVAE):
        raise ValueError(
            f"{type(model).__name__} was given: what can be prepared is a ResNet, UNet, Denoiser "
            "or GaussianVAE"
        )
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision is {precision!r}: it must be auto, fp32 or bf16")
    if not training:
        return optimize_for_inference(model, precision)
    device = next(model.parameters()).device
    if precision == "auto":
        low = not isinstance(model, _EXACT)
        precision = choices.precision(device, low_precision=low).value  # type: ignore[assignment]
    layout = choices.memory_format(model, device, precision).value
    quicken(model)
    choices.arrange_weights(model, layout)
    for name in ENTRANCES:
        if hasattr(model, name):
            # a partial of the model, so that in a copy it is one of the copy
            setattr(model, name, partial(_enter, model, name, layout, low=precision == "bf16"))
    return model


def quicken(model: nn.Module) -> None:
    """Give layers their fast forms for training, in place, where the device has any.

    They hold the same parameters, and compute the same but for rounding and for the numbers that
    dropout draws.
    """
    device = next(model.parameters()).device
    forms = {"cpu": _ON_CPU, "cuda": _ON_GPU}.get(device.type, {})
    for module in model.modules():
        module.__class__ = forms.get(type(module), type(module))
    if device.type == "cpu":
        keep_freed_memory()


def _enter(
    model: nn.Module, name: str, layout: torch.memory_format, *args: Any, low: bool, **kwargs: Any
) -> Any:
    """Call a method of a model's class with arranged tensors, under autocast, for float32."""
    method = getattr(type(model), name)
    device = next(model.parameters()).device.type
    args, kwargs = map_tensors(lambda x: choices.arrange(x, layout), (args, kwargs))
    if torch.is_autocast_enabled(device):  # another method of it calls this one
        return method(model, *args, **kwargs)
    with torch.autocast(device, torch.bfloat16, enabled=low):
        outputs = method(model, *args, **kwargs)
    return map_tensors(Tensor.float, outputs)
