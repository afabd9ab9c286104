"""visarch: the textbook vision architectures, to train, inspect and use on your own images.

Public names are resolved on first use, so that importing the package (as the command line does
before it knows what is asked of it) does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "visarch.blocks.convolution": (
        "Conv",
        "ConvLayer",
        "TransConv",
        "conv_matrix",
        "conv_output_size",
        "implicit_conv",
        "trans_conv_output_size",
    ),
    "visarch.blocks.attention": ("Attn", "attention"),
    "visarch.blocks.normalization": (
        "BatchNorm",
        "GroupNorm",
        "InstanceNorm",
        "LayerNorm",
        "normalize",
    ),
    "visarch.blocks.residual": ("BottleneckBlock", "ResidualBlock"),
    "visarch.models.resnet": (
        "ResNet",
        "ResNetConfig",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
    ),
    "visarch.models.unet": ("ContextEmbedding", "Denoiser", "UNet", "UNetConfig"),
    "visarch.models.vae": ("GaussianVAE", "VAEConfig"),
    "visarch.hub": ("load",),
    "visarch.performance.preparation": ("prepare",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'visarch' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
