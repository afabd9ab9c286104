"""The U-Net with a context embedding (note, section 2.2 and appendix B.2), and its denoiser.

With the default configuration and a 3 × 32 × 32 image, read Descend from top to bottom and Ascend
from bottom to top:

    z₁               64 × 32 × 32          y₁ y₂ y₃     64 × 32 × 32     y₄: up from ȳ₄
    z₂ z₃            64 × 32 × 32
    z₄ (stride 2)    64 × 16 × 16          ȳ₄           64 × 16 × 16
    z₅ z₆           128 × 16 × 16          y₅ y₆       128 × 16 × 16     y₇: up from ȳ₇
    z₇ (stride 2)   128 × 8 × 8            ȳ₇          128 × 8 × 8
    z₈ z₉           256 × 8 × 8            y₈ y₉       256 × 8 × 8       y₁₀: up from ȳ₁₀
    z₁₀ (stride 2)  256 × 4 × 4            ȳ₁₀         256 × 4 × 4
    z₁₁ z₁₂        1024 × 4 × 4            y₁₁ y₁₂    1024 × 4 × 4       y₁₃: the turn

Each block of the ascent sees the z of its own number beside the y before it.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, TransConv, check_input, crop, pad_to_multiple
from visarch.blocks.normalization import GroupNorm
from visarch.models.config import UNetConfig
from visarch.models.pretrained import Pretrained


class ResBlockU(nn.Module):
    """ResBlockU (note, appendix B.2): a residual block that adds a context embedding to its middle.

    z₁ = Conv(swish(GroupNorm(x)), C');  z₂ = z₁ + (U swish(u) + b);
    z₃ = Conv(Drop(swish(GroupNorm(z₂))), C');  y = z₃ + x',
    with x' = x where C' = C and Conv(x, C', F = 1) elsewhere; all other convolutions are 3×3.

    Shapes: (b, C, H, …), (b, d) → (b, C', H, …).

    Raises:
        ValueError: if G does not divide C and C', or the input has other channels or axes.

    Source: note, appendix B.2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        context_dim: int = 256,
        num_groups: int = 32,
        dropout: float = 0.1,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels, num_groups=num_groups)
        self.conv1 = Conv(in_channels, out_channels, 3, padding=1, ndim=ndim)
        self.context = nn.Linear(context_dim, out_channels)
        self.norm2 = GroupNorm(out_channels, num_groups=num_groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv(out_channels, out_channels, 3, padding=1, ndim=ndim)
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else Conv(in_channels, out_channels, 1, ndim=ndim)
        )

    def forward(
        self, x: Float[Tensor, "b c *spatial"], u: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b e *spatial"]:
        z1 = self.conv1(swish(self.norm1(x)))
        context = self.context(swish(u))
        z2 = z1 + context.view(*context.shape, *(1,) * (x.ndim - 2))
        z3 = self.conv2(self.dropout(swish(self.norm2(z2))))
        return z3 + self.shortcut(x)


class ResidualAttn(nn.Module):
    """Attention with a shortcut: x + Attn(x), or x + Attn(GroupNorm(x)) with a ``norm``.

    The note's box has neither; most descendants of the U-Net have both.

    Shapes: (b, C, H, …) → (b, C, H, …).
    """

    def __init__(self, attn: Attn, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.attn = norm, attn

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return x + self.attn(self.norm(x))


class Step(nn.Module):
    """One step of the U: a ResBlockU, followed by attention where its level attends.

    Shapes: (b, C, H, …), (b, d) → (b, C', H, …).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, attends: bool, config: UNetConfig
    ) -> None:
        super().__init__()
        self.block = ResBlockU(
            in_channels,
            out_channels,
            context_dim=config.context_dim,
            num_groups=config.num_groups,
            dropout=config.dropout,
            ndim=config.ndim,
        )
        self.attention = _attention(out_channels, config) if attends else nn.Identity()

    def forward(
        self, x: Float[Tensor, "b c *spatial"], u: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b e *spatial"]:
        return self.attention(self.block(x, u))


class Descend(nn.ModuleDict):
    """Descend (note, appendix B.2): more channels at less resolution, step by step.

    The modules go by the note's names, ``z1`` … ``z12``: the image made by each is returned under
    its name, for the ascent will need them all again.

    Source: note, appendix B.2.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, ndim = config.widths[0], config.ndim
        self.channels: list[int] = []  # of z₁, z₂, …
        self._append(Conv(config.in_channels, width, 3, padding=1, ndim=ndim), width)
        for level, (width, attends) in enumerate(zip(config.widths, config.attends, strict=True)):
            if level > 0:
                above = config.widths[level - 1]
                self._append(Conv(above, above, 3, stride=2, padding=1, ndim=ndim), above)
            for _ in range(config.num_blocks):
                step = Step(self.channels[-1], width, attends=attends, config=config)
                self._append(step, width)

    def _append(self, step: nn.Module, channels: int) -> None:
        self.channels.append(channels)
        self[f"z{len(self.channels)}"] = step

    def forward(self, x: Tensor, u: Float[Tensor, "b d"]) -> dict[str, Tensor]:
        z: dict[str, Tensor] = {}
        for name, step in self.items():
            x = step(x, u) if isinstance(step, Step) else step(x)
            z[name] = x
        return z


class Turn(nn.Module):
    """The bottom of the U: y₁₃ = ResBlockU(Attn(ResBlockU(z₁₂, u)), u).

    It attends if the lowest level does. Shapes: (b, C, H, …), (b, d) → (b, C, H, …).

    Source: note, appendix B.2, first line of Ascend.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels = config.widths[-1]
        self.first = Step(channels, channels, attends=config.attends[-1], config=config)
        self.second = Step(channels, channels, attends=False, config=config)

    def forward(
        self, x: Float[Tensor, "b c *spatial"], u: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b c *spatial"]:
        return self.second(self.first(x, u), u)


class Ascend(nn.ModuleDict):
    """Ascend (note, appendix B.2): back to full resolution, each step beside the z of its number.

    y_i = step(y_{i+1} ⊕ z_i, u), where ⊕ concatenates channels. Where z_i was made with stride 2,
    the step makes ȳ_i, with the channels of the level above, and y_i = TransConv(ȳ_i) enlarges it.
    The modules go by the note's names in the order of their use: ``y13``, ``y12``, ``y11``,
    ``y10_bar``, ``y10``, …, ``y1``.

    Source: note, appendix B.2.
    """

    def __init__(self, config: UNetConfig, z_channels: list[int]) -> None:
        super().__init__()
        number = len(z_channels)
        channels = z_channels[-1]
        self[f"y{number + 1}"] = Turn(config)
        for level in reversed(range(len(config.widths))):
            width, attends = config.widths[level], config.attends[level]
            above = config.widths[max(level - 1, 0)]
            for out_channels in [width] * config.num_blocks + [above]:
                in_channels = channels + z_channels[number - 1]
                enlarges = level > 0 and number == self._first_of(level, config)
                name = f"y{number}_bar" if enlarges else f"y{number}"
                self[name] = Step(in_channels, out_channels, attends=attends, config=config)
                channels = out_channels
                if enlarges:
                    self[f"y{number}"] = TransConv(
                        channels, channels, 4, stride=2, padding=1, ndim=config.ndim
                    )
                number -= 1

    @staticmethod
    def _first_of(level: int, config: UNetConfig) -> int:
        """Number of the step that makes the level's first z: 1, 4, 7, 10 for the note's U-Net."""
        return level * (config.num_blocks + 1) + 1

    def forward(self, z: dict[str, Tensor], u: Float[Tensor, "b d"]) -> Tensor:
        waiting = list(z.values())
        y = waiting[-1]
        for step in self.values():
            if isinstance(step, Turn):
                y = step(y, u)
            elif isinstance(step, Step):
                y = step(torch.cat([y, waiting.pop()], dim=1), u)
            else:
                y = step(y)
        return y


class UNet(nn.Module, Pretrained):
    """U-Net (note, section 2.2): an image and a context embedding to an image of the same size.

    (z₁ … z₁₂) ← Descend(x, u);  y₁ ← Ascend(z, u);  y ← Conv(swish(GroupNorm(y₁)), F = 3, P = 1).

    Sides that cannot be halved at every level are padded with zeros at their end and the output is
    cropped back, so that any H × W goes in.

    Shapes: (b, C, H, …), (b, context_dim) → (b, C', H, …).

    Raises:
        ValueError: if the input has other axes or channels, or u another shape, than configured.

    Source: note, section 2.2 and appendix B.2, whose lost box is restored in docs/maths.md.
    """

    def __init__(self, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.widths[0]
        out_channels = config.in_channels if config.out_channels is None else config.out_channels
        self.descend = Descend(config)
        self.ascend = Ascend(config, self.descend.channels)
        self.norm = GroupNorm(width, num_groups=config.last_groups or config.num_groups)
        self.conv = Conv(width, out_channels, 3, padding=1, ndim=config.ndim)

    def forward(
        self, x: Float[Tensor, "b c *spatial"], u: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b e *spatial"]:
        check_input("UNet", x, self.config.in_channels, self.config.ndim)
        if u.shape != (x.shape[0], self.config.context_dim):
            raise ValueError(
                f"UNet was given a context of shape {tuple(u.shape)} for {x.shape[0]} images: "
                f"it must be ({x.shape[0]}, {self.config.context_dim})"
            )
        padded = pad_to_multiple(x, 2 ** (len(self.config.widths) - 1))
        z = self.descend(padded, u)
        y1 = self.ascend(z, u)
        y = self.conv(swish(self.norm(y1)))
        return crop(y, x.shape[2:])


class ContextEmbedding(nn.Module):
    """The context embedding u of the U-Net: of a time, and of a class or a vector where given.

    u = W₂ swish(W₁ s(t) + b₁) + b₂ (+ E_label) (+ W₃ vector + b₃), with the sinusoidal features
    s(t) = (sin ω₁τ … sin ω_hτ, cos ω₁τ … cos ω_hτ), τ = 1000 t, ω_i geometric from 1 to 10⁻⁴.

    Shapes: t (b,) in [0, 1]; label (b,) of ids, −1 where an example has no label; vector (b, v) →
    (b, dim). An embedding with classes and no label given is that of "no label" throughout.

    Args:
        dim: length of u; must be divisible by 8.
        num_classes: number of classes, or none for an embedding that takes no label.
        vector_dim: v, or none for an embedding that takes no vector.

    Raises:
        ValueError: if a label or a vector is given to an embedding made without, or a vector is
            missing.
        IndexError: for a label below −1 or beyond the last class.

    Source: note, section 2.2 (u is its input); time features as in Vaswani et al. 2017, Ho et al.
    2020; the learned "no label" as in Ho & Salimans 2022.
    """

    def __init__(
        self, dim: int = 256, *, num_classes: int | None = None, vector_dim: int | None = None
    ) -> None:
        super().__init__()
        if dim < 16 or dim % 8:
            raise ValueError(f"ContextEmbedding: dim is {dim}: it must be a multiple of 8, ≥ 16")
        for name, value in (("num_classes", num_classes), ("vector_dim", vector_dim)):
            if value is not None and value < 1:
                raise ValueError(f"ContextEmbedding: {name} is {value}: it must be at least 1")
        half = dim // 8
        self.num_frequencies = half
        self.time1, self.time2 = nn.Linear(2 * half, dim), nn.Linear(dim, dim)
        self.vector_dim = vector_dim
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, dim)
        self.vector = None if vector_dim is None else nn.Linear(vector_dim, dim)

    def forward(
        self,
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
        vector: Float[Tensor, "b v"] | None = None,
    ) -> Float[Tensor, "b d"]:
        u = self.time2(swish(self.time1(self._waves(t))))
        return u + self._of_label(label, t) + self._of_vector(vector)

    def _waves(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b w"]:
        """s(t), whose angles reach 1000: computed in 32 bits at least, whatever the model's."""
        precise = torch.promote_types(t.dtype, torch.float32)
        order = torch.arange(self.num_frequencies, device=t.device, dtype=precise)
        frequencies = torch.exp(-math.log(10_000) / (self.num_frequencies - 1) * order)
        angles = 1000 * t.to(precise)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(self.time1.weight.dtype)

    def _of_label(self, label: Tensor | None, t: Tensor) -> Tensor | float:
        if self.label is None:
            if label is not None:
                raise ValueError("labels were given to a model that was made without num_classes")
            return 0.0
        if label is None:
            label = torch.full(t.shape, -1, dtype=torch.long, device=t.device)
        return self.label(label + 1)  # row 0 is that of "no label"

    def _of_vector(self, vector: Tensor | None) -> Tensor | float:
        if self.vector is None:
            if vector is not None:
                raise ValueError("a vector was given to a model that was made without vector_dim")
            return 0.0
        if vector is None or vector.shape[-1] != self.vector_dim:
            given = None if vector is None else tuple(vector.shape)
            raise ValueError(f"vector is {given}: this model takes (batch, {self.vector_dim})")
        return self.vector(vector)


class Denoiser(nn.Module, Pretrained):
    """A U-Net with the embedding of its context: what diffusion trains, saves and samples.

    Shapes: x (b, C, H, …), t (b,) in [0, 1], label (b,), vector (b, v) → (b, C', H, …).

    Args:
        unet: configuration of the U-Net.
        num_classes: as :class:`ContextEmbedding`.
        vector_dim: as :class:`ContextEmbedding`.

    Raises:
        ValueError: as :class:`UNet` and :class:`ContextEmbedding`.
    """

    def __init__(
        self,
        unet: UNetConfig = UNetConfig(),
        *,
        num_classes: int | None = None,
        vector_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.config = unet
        self.context = ContextEmbedding(
            unet.context_dim, num_classes=num_classes, vector_dim=vector_dim
        )
        self.unet = UNet(unet)

    def forward(
        self,
        x: Float[Tensor, "b c *spatial"],
        t: Float[Tensor, " b"],
        label: Int[Tensor, " b"] | None = None,
        vector: Float[Tensor, "b v"] | None = None,
    ) -> Float[Tensor, "b e *spatial"]:
        return self.unet(x, self.context(t, label, vector))


def swish(x: Tensor) -> Tensor:
    """swish(x) = x σ(x) (note, footnote 2), which torch calls SiLU."""
    return functional.silu(x)


def _attention(channels: int, config: UNetConfig) -> nn.Module:
    attn = Attn(channels, num_heads=config.num_heads, head_dim=config.head_dim, ndim=config.ndim)
    if config.attention == "literal":
        return attn
    prenorm = config.attention == "prenorm"
    norm = GroupNorm(channels, num_groups=config.num_groups) if prenorm else nn.Identity()
    return ResidualAttn(attn, norm)
