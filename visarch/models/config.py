"""What the three models are made of: the dataclasses behind their constructors, files and flags.

They stand beside the network files, not in them, because the command line reads its flags from them
and imports no torch before it has to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args, get_type_hints

_DEEPEST = 1000
"""How many blocks may follow each other: a mistyped number is not to fill the memory with them."""


@dataclass(frozen=True)
class ResNetConfig:
    """What a ResNet is made of; the defaults are the note's ResNet-50."""

    in_channels: int = 3
    """channels of the image"""
    num_classes: int | None = None
    """outputs of the linear classifier on top; none: the network ends at the pooled features"""
    block: Literal["bottleneck", "residual"] = "bottleneck"
    """ResBlockRes (C → C' → C' → 4C'), or the lecture's two-convolution block"""
    depths: Sequence[int] = (3, 4, 6, 3)
    """B: blocks in each stack"""
    widths: Sequence[int] = (64, 128, 256, 512)
    """C': intermediate channels of each stack"""
    stem: Literal["small", "large"] = "small"
    """first layer: 3×3 convolution for small images; 7×7 and max-pool for photographs"""
    dropout: float = 0.0
    """probability of dropping a feature before the classifier"""
    ndim: Literal[1, 2, 3] = 2
    """spatial axes: 1 for signals, 2 for images, 3 for volumes"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))  # JSON has lists
        object.__setattr__(self, "widths", tuple(self.widths))
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ValueError(
                f"ResNetConfig: depths {self.depths} and widths {self.widths} must be equally "
                "long, with one entry for each stack"
            )
        _at_least_one(self, "in_channels", "num_classes", "widths")
        _whole(self, "depths", 1, _DEEPEST)
        _one_of(self, "block", "stem", "ndim")
        _probability(self, "dropout")

    @property
    def num_features(self) -> int:
        """Length of the feature vector y: 4C' of the last stack, or C' for residual blocks."""
        return self.widths[-1] * (4 if self.block == "bottleneck" else 1)


@dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of; the defaults are the note's."""

    in_channels: int = 3
    """channels of the image"""
    out_channels: int | None = None
    """channels of the output; none: those of the image"""
    widths: Sequence[int] = (64, 128, 256, 1024)
    """channels of each level, from full resolution down; each level halves the sides"""
    num_blocks: int = 2
    """residual blocks of each level on the way down (one more on the way up)"""
    attends: Sequence[bool] = (False, False, True, True)
    """which levels follow each residual block by attention"""
    attention: Literal["literal", "residual", "prenorm"] = "literal"
    """literal: Attn(x), the note's box; residual: x + Attn(x); prenorm: x + Attn(GroupNorm(x))"""
    num_heads: int = 1
    """K: attention heads"""
    head_dim: int | None = None
    """d: size of a head; none: channels / K"""
    num_groups: int = 32
    """G: groups of every GroupNorm"""
    last_groups: int | None = None
    """groups of the GroupNorm before the output; none: G, as everywhere"""
    dropout: float = 0.1
    """probability of dropping an input of a residual block's second convolution"""
    context_dim: int = 256
    """length of the context embedding u"""
    ndim: Literal[1, 2, 3] = 2
    """spatial axes: 1 for signals, 2 for images, 3 for volumes"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists
        object.__setattr__(self, "attends", tuple(self.attends))
        if len(self.attends) != len(self.widths) or not self.widths:
            raise ValueError(
                f"UNetConfig: attends {self.attends} must say yes or no for each of the "
                f"{len(self.widths)} levels in widths {self.widths}"
            )
        _at_least_one(self, "in_channels", "out_channels", "widths", "num_heads")
        _whole(self, "num_blocks", 1, _DEEPEST)
        _at_least_one(self, "head_dim", "num_groups", "last_groups", "context_dim")
        _one_of(self, "attention", "ndim")
        _probability(self, "dropout")
        indivisible = [width for width in self.widths if width % self.num_groups]
        if indivisible:
            divisor = math.gcd(*self.widths)
            raise ValueError(
                f"UNetConfig: num_groups {self.num_groups} does not divide the widths "
                f"{indivisible}: choose a divisor of {divisor}, such as {math.gcd(divisor, 32)}"
            )
        if self.last_groups is not None and self.widths[0] % self.last_groups:
            raise ValueError(
                f"UNetConfig: last_groups {self.last_groups} does not divide the {self.widths[0]} "
                f"channels before the output: choose a divisor, such as {self.num_groups}"
            )


@dataclass(frozen=True, kw_only=True)
class VAEHyperparameters:
    """What a Gaussian VAE is made of, whatever its images: the lecture's hyper-parameters."""

    latent_dim: int = 256
    """Z: length of the latent vector z"""
    channels: int = 64
    """C: capacity of the network"""
    block: Literal["residual", "bottleneck"] = "residual"
    """what h is a stack of: residual blocks C → C → C, or bottleneck blocks C → D → D → C"""
    inner_channels: int = 32
    """D: inner capacity of a bottleneck block"""
    kernel_size: int = 3
    """k: side of the convolutions' windows"""
    depth: int = 2
    """L: blocks in each h"""
    patch_size: int = 0
    """p: side of the patch behind each position of the grid; 1: the lecture's 1×1 f_in; 0: inferred
    as the smallest power of two that leaves at most 64 positions"""
    dropout: float = 0.0
    """probability of dropping an input of each block's last convolution"""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """posterior covariance Σ(x): diagonal, or full through its Cholesky factor"""
    sigma: Literal["constant", "learned", "predicted"] = "predicted"
    """the decoder's σ: a constant, one learned number, or predicted for each image"""
    initial_sigma: float = 0.1
    """value of the constant σ, or the value that the other two start from at random weights"""
    initial_scale: float = 0.1
    """standard deviation that the posterior starts from at random weights; 1 is the prior's"""

    def __post_init__(self) -> None:
        _at_least_one(self, "latent_dim", "channels", "inner_channels", "kernel_size")
        _whole(self, "patch_size", 0)
        _whole(self, "depth", 0, _DEEPEST)
        _one_of(self, "block", "covariance", "sigma")
        _probability(self, "dropout")
        for name in ("initial_sigma", "initial_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{type(self).__name__}: {name} is {getattr(self, name)}: it must be positive"
                )


@dataclass(frozen=True, kw_only=True)
class VAEConfig(VAEHyperparameters):
    """What a Gaussian VAE for images of one shape is made of; ``patch_size`` is settled by it."""

    image_shape: Sequence[int] = (1, 28, 28)
    """(channels, height, width), or with one or three spatial sizes"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "image_shape", tuple(self.image_shape))  # JSON has lists
        if not 2 <= len(self.image_shape) <= 4:
            raise ValueError(
                f"VAEConfig: image_shape is {self.image_shape}: it must be channels followed by "
                "one, two or three spatial sizes"
            )
        _at_least_one(self, "image_shape")
        if self.patch_size == 0:
            object.__setattr__(self, "patch_size", _smallest_patch(self.image_shape[1:]))

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.image_shape) - 1

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """(C, ⌈H / p⌉, …): the shape on which h works."""
        return self.channels, *_num_patches(self.image_shape[1:], self.patch_size)


def _smallest_patch(sizes: Sequence[int], most: int = 64) -> int:
    """The smallest power of two whose patches cut an image into at most ``most`` pieces."""
    patch = 1
    while math.prod(_num_patches(sizes, patch)) > most:
        patch *= 2
    return patch


def _num_patches(sizes: Sequence[int], patch: int) -> list[int]:
    return [-(-size // patch) for size in sizes]


def _at_least_one(config: Any, *names: str) -> None:
    for name in names:
        _whole(config, name, 1)


def _whole(config: Any, name: str, minimum: int, maximum: int = 2**63 - 1) -> None:
    """That a setting is a whole number in a range, or that each of several is."""
    value = getattr(config, name)
    for number in value if isinstance(value, tuple) else (value,):
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, Integral):
            wrong = "a whole number"
        elif int(number) < minimum:
            wrong = f"at least {minimum}"
        elif int(number) > maximum:
            wrong = f"at most {maximum}"
        else:
            continue
        raise ValueError(f"{type(config).__name__}: {name} is {value}: it must be {wrong}")


def _one_of(config: Any, *names: str) -> None:
    for name in names:
        value, allowed = getattr(config, name), get_args(get_type_hints(type(config))[name])
        if value not in allowed:
            raise ValueError(
                f"{type(config).__name__}: {name} is {value!r}: it must be one of "
                f"{', '.join(map(str, allowed))}"
            )


def _probability(config: Any, name: str) -> None:
    value = getattr(config, name)
    if not 0 <= value < 1:
        raise ValueError(f"{type(config).__name__}: {name} is {value}: it must lie in [0, 1)")
