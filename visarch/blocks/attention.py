"""Multi-head self-attention over the pixels of an image (note, section 1.3)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.convolution import check_input


def attention(
    query: Float[Tensor, "*heads n d"],
    key: Float[Tensor, "*heads n d"],
    value: Float[Tensor, "*heads n d"],
) -> Float[Tensor, "*heads n d"]:
    """The attention equation, written out: softmax(q kᵀ / √d) v, the softmax over each row.

    :class:`Attn` computes the same through torch's fused kernel, which never holds the n × n
    matrix; the two are compared in the tests and by ``visarch verify``.

    Source: note, section 1.3, step 3; Vaswani et al. 2017, equation 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return torch.softmax(scores, dim=-1) @ value


class Attn(nn.Module):
    """Attn (note, section 1.3): each pixel becomes a mixture of all pixels, in K heads of size d.

    For h = 1 … K:  a⁽ʰ⁾ = softmax(q⁽ʰ⁾ k⁽ʰ⁾ᵀ / √d) v⁽ʰ⁾;  y = [a⁽¹⁾ … a⁽ᴷ⁾] V + b,
    where q⁽ʰ⁾, k⁽ʰ⁾, v⁽ʰ⁾ (n × d) are linear images of the n pixels, each head with its own biases.
    There is no normalization and no residual connection in this box.

    ``projection`` holds U^{query,h}, U^{key,h}, U^{value,h} as the rows of one (3Kd, C) weight: all
    queries head by head, then all keys, then all values. ``output`` holds V as a (C, Kd) weight.

    Shapes: (b, C, H, …) → (b, C, H, …).

    Args:
        channels: C.
        num_heads: K.
        head_dim: d; ``None`` means C / K.
        ndim: number of spatial axes.

    Raises:
        ValueError: if K does not divide C and no ``head_dim`` is given, or the input has other
            axes or channels.

    Source: note, section 1.3.
    """

    def __init__(
        self, channels: int, *, num_heads: int = 1, head_dim: int | None = None, ndim: int = 2
    ) -> None:
        super().__init__()
        if channels < 1 or num_heads < 1 or (head_dim is not None and head_dim < 1):
            raise ValueError(
                f"Attn: channels {channels}, num_heads {num_heads} and head_dim {head_dim} must "
                "each be at least 1"
            )
        if ndim not in (1, 2, 3):
            raise ValueError(f"Attn: ndim is {ndim!r}: it must be 1, 2 or 3")
        if head_dim is None and channels % num_heads:
            divisors = [k for k in range(1, channels + 1) if channels % k == 0]
            raise ValueError(
                f"Attn: {num_heads} heads do not divide {channels} channels: choose num_heads "
                f"among {divisors}, or give head_dim"
            )
        self.channels, self.ndim = channels, ndim
        self.num_heads = num_heads
        self.head_dim = head_dim or channels // num_heads
        self.projection = nn.Linear(channels, 3 * num_heads * self.head_dim)
        self.output = nn.Linear(num_heads * self.head_dim, channels)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        check_input("Attn", x, self.channels, self.ndim)
        pixels = x.flatten(2).transpose(1, 2)  # (b, n, C)

        projected = self.projection(pixels)  # (b, n, 3Kd)
        projected = projected.unflatten(2, (3, self.num_heads, self.head_dim))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (b, K, n, d)

        attended = self.attend(query, key, value)
        attended = attended.transpose(1, 2).flatten(2)  # (b, n, Kd)
        return self.output(attended).transpose(1, 2).reshape(x.shape)

    @staticmethod
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """:func:`attention` of each image and head, (b, K, n, d), in torch's fused kernel."""
        return functional.scaled_dot_product_attention(query, key, value)

    def extra_repr(self) -> str:
        return f"{self.channels}, num_heads={self.num_heads}, head_dim={self.head_dim}"
