"""A copy of a model that computes outputs alone, as fast as it can: no gradients, no training.

On a CPU with oneDNN a network of images runs on packed layers (:mod:`visarch.performance.packing`):
BatchNorm is folded into the convolutions; a convolution takes its bias, its ReLU and the sum of a
residual block along; activations stay in channels_last and in one precision from the first
convolution to the last. Networks of signals and volumes, and all of them on other devices, keep
their own layers, with BatchNorm folded and under autocast.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser, UNet
from visarch.models.vae import GaussianPosterior, GaussianVAE
from visarch.performance import choices
from visarch.performance.folding import fold_batch_norms
from visarch.performance.memory import keep_freed_memory
from visarch.performance.outputs import map_tensors
from visarch.performance.packed_blocks import own_tensors, pack
from visarch.performance.packing import can_pack
from visarch.performance.quantization import Grid, Ranges, can_quantize, observe, quantize

Precision = Literal["auto", "fp32", "bf16", "int8"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
"""of the weights that a copy is made from"""

ENTRANCES = ("forward", "features", "stages", "encode", "decode")
"""The methods by which a model is given tensors."""

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def optimize_for_inference(
    model: nn.Module, precision: Precision = "auto", *, calibration: Tensor | None = None
) -> "Inference":
    """A copy of a model for fast inference on its device; the model itself stays as it is.

    The copy has the methods of the model (``features``, ``encode``, …); its outputs are float32
    and carry no gradients. The first call with images of another shape takes longer, as the
    weights are laid out for them.

    Args:
        model: a ResNet, UNet, Denoiser or GaussianVAE.
        precision: of the heavy operations. "auto" is bf16 where the device has units for it, else
            fp32; "int8" is for a ResNet of images on a CPU with units for it.
        calibration: for int8, some dozens or hundreds of images like those that will come, which
            tell how large activations grow.

    Raises:
        ValueError: for another model, a precision that it or the device cannot have, or images that
            nothing can be learned from.
    """
    chosen = choose_precision(model, precision, calibration)
    folded = fold_batch_norms(model)
    if calibration is None:
        return freeze(folded, chosen)
    assert isinstance(folded, ResNet)
    return freeze(folded, chosen, observe(folded, calibration))


def choose_precision(
    model: nn.Module, precision: Precision, calibration: Tensor | None = None
) -> str:
    """fp32, bf16 or int8 for a model that can be made fast.

    Raises:
        ValueError: as :func:`optimize_for_inference`.
    """
    if isinstance(model, Inference) or architecture(model) is None:
        raise ValueError(
            f"{type(model).__name__} was given: what can be made fast for inference is a "
            f"{', '.join(kind.__name__ for kind in _FAST_FORMS)}"
        )
    device = next(model.parameters()).device
    if precision not in ("auto", *DTYPES):
        raise ValueError(f"precision is {precision!r}: it must be auto, fp32, bf16 or int8")
    if (precision == "int8") != (calibration is not None):
        raise ValueError(
            f"precision is {precision!r} and calibration is "
            f"{'missing' if calibration is None else 'given'}: int8 takes images to calibrate it "
            "with, and it alone"
        )
    if precision == "int8" and not (_packs(model, device) and isinstance(model, ResNet)):
        raise ValueError("int8 is for a ResNet of images on a CPU: take bf16 or fp32")
    if precision == "int8" and not can_quantize():
        raise ValueError("this processor has no units for int8: take fp32")
    if precision == "auto":
        return choices.precision(device, low_precision=True).value
    return precision


def freeze(folded: nn.Module, precision: str, ranges: Ranges | None = None) -> "Inference":
    """Make a model whose BatchNorms are folded into its fast form, in place.

    Its tensors may be shared with another model: it takes copies. With ``ranges`` it computes in
    integers.
    """
    device = next(folded.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    is_packed = _packs(folded, device)
    layout = choices.memory_format(folded, device, precision).value
    own_tensors(folded, DTYPES[precision])
    if ranges is not None:
        assert isinstance(folded, ResNet)
        folded.grids = quantize(folded, ranges)  # type: ignore[assignment]
    elif is_packed:
        pack(folded)
    else:
        choices.arrange_weights(folded, layout)
        if isinstance(folded, ResNet):
            folded.conv = nn.Sequential(folded.conv, nn.ReLU())  # type: ignore[assignment]
    for part in folded.modules():
        kind = architecture(part)
        if kind is not None:
            part.__class__ = _FAST_FORMS[kind]
            part.precision, part.is_packed, part.memory_format = precision, is_packed, layout  # type: ignore[assignment]
            for name in ENTRANCES:
                vars(part).pop(name, None)  # that of a model prepared for training
    assert isinstance(folded, Inference)
    return folded


def _packs(model: nn.Module, device: torch.device) -> bool:
    """Whether packed layers can take the place of its own."""
    config: Any = model.config
    return can_pack(device) and config.ndim == 2


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
        autocast = self.precision == "bf16" and not self.is_packed
        device = inputs[0].device.type
        with (
            torch.inference_mode(),
            torch.autocast(device, DTYPES[self.precision], enabled=autocast),
        ):
            if not self.is_packed:
                inputs = tuple(choices.arrange(x, self.memory_format) for x in inputs)
            outputs = network(*inputs)
        return map_tensors(_ordinary, outputs)


class InferenceResNet(Inference, ResNet):
    """ResNet whose ``conv`` has BatchNorm and ReLU in it, and which may compute in integers."""

    grids: Mapping[str, Grid] = {}
    """of the steps that are integers"""

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        return self._compute(
            lambda x: {name: _ordinary(self._numbers(name, z)) for name, z in self._steps(x)}, x
        )

    def features(self, x: Tensor) -> Tensor:
        def last(x: Tensor) -> Tensor:
            for step in self._steps(x):
                name, z = step
            return self._numbers(name, z)

        return self._compute(last, x)

    def _steps(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """As ``ResNet.stages``, one after another: the next may be written where the last was."""
        z = self.conv(self.normalized(x))
        if self.config.stem == "large":
            z = _MAX_POOL[self.config.ndim](z, kernel_size=3, stride=2, padding=1)
        yield "z", z
        for index, stack in enumerate(self.stacks, start=1):
            z = stack(z)
            yield f"z{index}", z
        yield "y", z.flatten(2).mean(2, dtype=torch.float32)

    def _numbers(self, name: str, z: Tensor) -> Tensor:
        return self.grids[name].numbers(z) if name in self.grids else z


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
