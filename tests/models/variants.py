"""Every form of every model, small: what the properties of all models are tried on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visarch import Denoiser, GaussianVAE, ResNet, ResNetConfig, UNet, UNetConfig, VAEConfig

SIZES = (9, 6, 5)  # sides of the images: the first one, two or three


@dataclass(frozen=True)
class Variant:
    """A model and inputs that it takes."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Tensor | None, ...]]
    """inputs for a batch of this many"""


def image(batch: int, channels: int, ndim: int) -> Tensor:
    return torch.rand(batch, channels, *SIZES[:ndim])


def resnet(**options) -> Variant:
    sizes = {"depths": (2, 1), "widths": (4, 6)}
    config = ResNetConfig(**{**sizes, **options})
    return Variant(
        lambda: ResNet(config), lambda batch: (image(batch, config.in_channels, config.ndim),)
    )


def unet_config(**options) -> UNetConfig:
    sizes = {"widths": (8, 12), "attends": (False, True), "num_groups": 4, "context_dim": 16}
    return UNetConfig(**{**sizes, **options})


def unet(**options) -> Variant:
    config = unet_config(**options)
    return Variant(
        lambda: UNet(config),
        lambda batch: (
            image(batch, config.in_channels, config.ndim),
            torch.randn(batch, config.context_dim),
        ),
    )


def denoiser(
    *, num_classes: int | None = None, vector_dim: int | None = None, **options
) -> Variant:
    config = unet_config(**options)

    def inputs(batch: int) -> tuple[Tensor | None, ...]:
        labels = torch.arange(batch) % (num_classes + 1) - 1 if num_classes else None
        vector = torch.randn(batch, vector_dim) if vector_dim else None
        return image(batch, config.in_channels, config.ndim), torch.rand(batch), labels, vector

    return Variant(lambda: Denoiser(config, num_classes=num_classes, vector_dim=vector_dim), inputs)


def vae(ndim: int = 2, **options) -> Variant:
    config = VAEConfig(
        **{
            "image_shape": (2, *SIZES[:ndim]),
            "latent_dim": 3,
            "channels": 6,
            "inner_channels": 4,
            "depth": 2,
            **options,
        }
    )
    return Variant(
        lambda: GaussianVAE(config),
        lambda batch: (image(batch, 2, ndim), torch.randn(batch, config.latent_dim)),
    )


VARIANTS = {
    **{
        f"resnet-{block}-{stem}-stem": resnet(block=block, stem=stem, num_classes=3)
        for block in ("bottleneck", "residual")
        for stem in ("small", "large")
    },
    "resnet-features-only": resnet(),
    "resnet-1d": resnet(ndim=1, in_channels=1),
    "resnet-3d": resnet(ndim=3, in_channels=2, stem="large"),
    **{
        f"unet-{attention}": unet(attention=attention)
        for attention in ("literal", "residual", "prenorm")
    },
    "unet-heads": unet(num_heads=2, head_dim=3),
    "unet-one-level": unet(widths=(8,), attends=(True,), num_blocks=1),
    "unet-no-attention": unet(attends=(False, False), out_channels=1, num_blocks=1),
    "unet-1d": unet(ndim=1, in_channels=1),
    "unet-3d": unet(ndim=3, in_channels=2, attention="prenorm"),
    "denoiser": denoiser(),
    "denoiser-labels": denoiser(num_classes=2),
    "denoiser-vector": denoiser(vector_dim=5),
    "denoiser-labels-and-vector": denoiser(num_classes=2, vector_dim=5, ndim=1),
    **{
        f"vae-{covariance}-{sigma}-{block}-patch{patch_size}": vae(
            covariance=covariance, sigma=sigma, block=block, patch_size=patch_size
        )
        for covariance in ("diagonal", "full")
        for sigma in ("constant", "learned", "predicted")
        for block in ("residual", "bottleneck")
        for patch_size in (1, 4)
    },
    "vae-no-blocks": vae(depth=0),
    "vae-1d": vae(ndim=1, kernel_size=4, patch_size=2),
    "vae-3d": vae(ndim=3, covariance="full", patch_size=2),
}

# One of each kind, for what takes long and depends on the kind alone.
KINDS = {
    name: VARIANTS[name]
    for name in (
        "resnet-bottleneck-small-stem",
        "resnet-residual-large-stem",
        "resnet-1d",
        "unet-literal",
        "unet-3d",
        "denoiser-labels-and-vector",
        "vae-diagonal-predicted-residual-patch4",
        "vae-full-learned-bottleneck-patch1",
        "vae-1d",
        "vae-3d",
    )
}
