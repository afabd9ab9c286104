"""A copy of a model that computes outputs alone, as fast as it can: no gradients, no training.

On a CPU with oneDNN a network of images runs on packed layers (:mod:`visarch.performance.packing`):
BatchNorm is folded into the convolutions; a convolution takes its bias, its ReLU and the sum of a
residual block along; activations stay in channels_last and in one precision from the first
convolution to the last. Networks of signals and volumes, and all of them on other devices, keep
their own layers, with BatchNorm folded and under autocast.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from visarch.blocks.convolution import check_input
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianPosterior, GaussianVAE
from visarch.performance import choices
from visarch.performance.folding import fold_batch_norms
from visarch.performance.packed_blocks import own_tensors, pack
from visarch.performance.packing import can_pack

Precision = Literal["auto", "fp32", "bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def optimize_for_inference(model: nn.Module, precision: Precision = "auto") -> "Inference":
    """A copy of a model for fast inference on its device; the model itself stays as it is.

    The copy has the methods of the model (``features``, ``encode``, …); its outputs are float32
    and carry no gradients. The first call with images of another shape takes longer, as the
    weights are laid out for them.

    Args:
        model: a ResNet, UNet, Denoiser or GaussianVAE.
        precision: of the heavy operations; "auto" is bf16 where the device has units for it.

    Raises:
        ValueError: for another model or precision.
    """
    chosen = choose_precision(model, precision)
    return freeze(fold_batch_norms(model), chosen)


def choose_precision(model: nn.Module, precision: Precision) -> str:
    """fp32 or bf16 for a model that can be made fast.

    Raises:
        ValueError: for another model or precision.
    """
    if isinstance(model, Inference) or architecture(model) is None:
        raise ValueError(
            f"{type(model).__name__} was given: what can be made fast for inference is a "
            f"{', '.join(kind.__name__ for kind in _FAST_FORMS)}"
        )
    if precision == "auto":
        device = next(model.parameters()).device
        return choices.precision(device, low_precision=True).value
    if precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}: it must be auto, fp32 or bf16")
    return precision


def freeze(folded: nn.Module, precision: str) -> "Inference":
    """Make a model whose BatchNorms are folded into its fast form, in place.

    Its tensors may be shared with another model: it takes copies.
    """
    device = next(folded.parameters()).device
    own_tensors(folded, DTYPES[precision])
    is_packed = can_pack(device) and folded.config.ndim == 2
    layout = choices.memory_format(folded, device, precision).value
    if is_packed:
        pack(folded, DTYPES[precision])
    else:
        choices.arrange_weights(folded, layout)
        if isinstance(folded, ResNet):
            folded.conv = nn.Sequential(folded.conv, nn.ReLU())  # type: ignore[assignment]
    for part in folded.modules():
        kind = architecture(part)
        if kind is not None:
            part.__class__ = _FAST_FORMS[kind]
            part.precision, part.is_packed, part.memory_format = precision, is_packed, layout  # type: ignore[assignment]
    assert isinstance(folded, Inference)
    return folded


class Inference(nn.Module):
    """What the fast copies have in common.

    Raises:
        ValueError: when asked to train, or to be saved as a model.
    """

    precision: str
    """of the heavy operations"""
    is_packed: bool
    """whether packed layers took the place of its own"""
    memory_format: torch.memory_format
    """in which it takes images fastest"""

    def train(self, mode: bool = True) -> "Inference":
        if mode:
            raise ValueError(
                f"{type(self).__name__} computes outputs alone: train the model it was made from"
            )
        return super().train(False)

    def _save_pretrained(self, save_directory: Path) -> None:
        raise ValueError(
            f"{type(self).__name__} has no weights to be saved in {save_directory}: save the "
            "model it was made from, or write a package (visarch.performance.package)"
        )

    def _compute(self, network: Callable[..., Any], *inputs: Tensor) -> Any:
        """What a part of the network gives; its outputs become ordinary tensors in float32."""
        autocast = self.precision != "fp32" and not self.is_packed
        device = inputs[0].device.type
        with (
            torch.inference_mode(),
            torch.autocast(device, DTYPES[self.precision], enabled=autocast),
        ):
            if not self.is_packed:
                inputs = tuple(choices.arrange(x, self.memory_format) for x in inputs)
            outputs = network(*inputs)
        if isinstance(outputs, Tensor):
            return _ordinary(outputs)
        return pytree.tree_map_only(Tensor, _ordinary, outputs)


class InferenceResNet(Inference, ResNet):
    """ResNet whose ``conv`` has BatchNorm and ReLU in it."""

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        return self._compute(self._stages, x)

    def features(self, x: Tensor) -> Tensor:
        return self._compute(lambda x: self._stages(x)["y"], x)

    def _stages(self, x: Tensor) -> dict[str, Tensor]:
        check_input("ResNet", x, self.config.in_channels, self.config.ndim)
        z = self.conv(x)
        if self.config.stem == "large":
            z = _MAX_POOL[self.config.ndim](z, kernel_size=3, stride=2, padding=1)
        steps = {"z": z}
        for index, stack in enumerate(self.stacks, start=1):
            z = stack(z)
            steps[f"z{index}"] = z
        steps["y"] = z.flatten(2).mean(2, dtype=torch.float32)
        return steps


class InferenceUNet(Inference, UNet):
    """UNet whose packed blocks share swish(u)."""

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        if self.is_packed:
            u = functional.silu(u).to(DTYPES[self.precision])
        return self._compute(super().forward, x, u)


class InferenceDenoiser(Inference, Denoiser):
    """Denoiser on a fast UNet."""


class InferenceVAE(Inference, GaussianVAE):
    """GaussianVAE with a fast encoder and decoder."""

    def encode(self, x: Tensor) -> GaussianPosterior:
        return self._compute(super().encode, x)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._compute(super().decode, z)


_FAST_FORMS: dict[type[nn.Module], type[Inference]] = {
    ResNet: InferenceResNet,
    UNet: InferenceUNet,
    Denoiser: InferenceDenoiser,
    GaussianVAE: InferenceVAE,
}


def architecture(model: nn.Module) -> type[nn.Module] | None:
    """Which of the models that can be made fast this is, if any."""
    return next((kind for kind in type(model).__mro__ if kind in _FAST_FORMS), None)


def _ordinary(output: Tensor) -> Tensor:
    """A copy in float32 that may be used and changed outside of inference mode."""
    return output.to(torch.float32, copy=True)
