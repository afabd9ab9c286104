"""The U-Net as the note's section 2.2 and appendix B.2 list its steps, one image at a time.

Written with the note's own indices, so it is the note's U: four levels, two blocks on each of
them, attention on the lower two. The widths are whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visarch.reference.attention import attn
from visarch.reference.convolution import conv, trans_conv
from visarch.reference.normalization import group_norm
from visarch.reference.weights import Array, Weights, has, part


def swish(x: Array) -> Array:
    """swish(x) = x σ(x) (note, footnote 2)."""
    return x / (1 + np.exp(-x))


def res_block_u(x: Array, u: Array, weights: Weights, *, num_groups: int = 32) -> Array:
    """ResBlockU (note, B.2); without dropout, as at test time."""

    def norm(name: str, z: Array) -> Array:
        return group_norm(z[np.newaxis], part(weights, name), num_groups=num_groups)[0]

    linear = part(weights, "context")
    z1 = conv(swish(norm("norm1", x)), part(weights, "conv1"), padding=1)
    z2 = np.empty_like(z1)
    for c, shift in enumerate(linear["weight"] @ swish(u) + linear["bias"]):
        z2[c] = z1[c] + shift
    z3 = conv(swish(norm("norm2", z2)), part(weights, "conv2"), padding=1)
    x_ = conv(x, part(weights, "shortcut")) if has(weights, "shortcut") else x
    return z3 + x_


@dataclass(frozen=True)
class Steps:
    """Whichever box stands at a numbered step, with that step's weights."""

    u: Array
    num_groups: int
    num_heads: int

    def res_block(self, x: Array, weights: Weights) -> Array:
        """ResBlockU(x, u)."""
        return res_block_u(x, self.u, part(weights, "block"), num_groups=self.num_groups)

    def attn_res_block(self, x: Array, weights: Weights) -> Array:
        """Attn(ResBlockU(x, u))."""
        attention = part(weights, "attention")
        return attn(self.res_block(x, weights), attention, num_heads=self.num_heads)


def descend(
    x: Array, u: Array, weights: Weights, *, num_groups: int = 32, num_heads: int = 1
) -> dict[int, Array]:
    """Descend (note, B.2): {1: z₁, …, 12: z₁₂}; the weights of z_i are ``steps.{i-1}``."""
    at = Steps(u, num_groups, num_heads)

    def w(i: int) -> Weights:
        return part(weights, f"steps.{i - 1}")

    z = {1: conv(x, w(1), padding=1)}
    for i in (2, 3):
        z[i] = at.res_block(z[i - 1], w(i))
    z[4] = conv(z[3], w(4), stride=2, padding=1)
    for i in (5, 6):
        z[i] = at.res_block(z[i - 1], w(i))
    z[7] = conv(z[6], w(7), stride=2, padding=1)
    for i in (8, 9):
        z[i] = at.attn_res_block(z[i - 1], w(i))
    z[10] = conv(z[9], w(10), stride=2, padding=1)
    for i in (11, 12):
        z[i] = at.attn_res_block(z[i - 1], w(i))
    return z


def ascend(
    z: dict[int, Array], u: Array, weights: Weights, *, num_groups: int = 32, num_heads: int = 1
) -> dict[str, Array]:
    """Ascend (note, B.2): {"y13": y₁₃, …, "y1": y₁}, and ȳ₁₀, ȳ₇, ȳ₄ as "ȳ10", "ȳ7", "ȳ4".

    The weights of y_i (or ȳ_i) are ``steps.{12-i}``, those of the enlargement from ȳ_i to y_i
    ``enlargements.{12-i}``.
    """
    at = Steps(u, num_groups, num_heads)
    y: dict[int, Array] = {}
    y_bar: dict[int, Array] = {}

    def w(i: int) -> Weights:
        return part(weights, f"steps.{12 - i}")

    def joined(i: int) -> Array:
        return np.concatenate([y[i + 1], z[i]], axis=0)  # y_{i+1} ⊕ z_i

    def enlarged(i: int) -> Array:
        enlargement = part(weights, f"enlargements.{12 - i}")
        return trans_conv(y_bar[i], enlargement, stride=2, padding=1)

    turn = at.attn_res_block(z[12], part(weights, "turn.first"))
    y[13] = at.res_block(turn, part(weights, "turn.second"))
    for i in (12, 11):
        y[i] = at.attn_res_block(joined(i), w(i))
    y_bar[10] = at.attn_res_block(joined(10), w(10))
    y[10] = enlarged(10)
    for i in (9, 8):
        y[i] = at.attn_res_block(joined(i), w(i))
    y_bar[7] = at.attn_res_block(joined(7), w(7))
    y[7] = enlarged(7)
    for i in (6, 5):
        y[i] = at.res_block(joined(i), w(i))
    y_bar[4] = at.res_block(joined(4), w(4))
    y[4] = enlarged(4)
    for i in (3, 2, 1):
        y[i] = at.res_block(joined(i), w(i))
    return {f"y{i}": y[i] for i in y} | {f"ȳ{i}": y_bar[i] for i in y_bar}


def unet(
    x: Array, u: Array, weights: Weights, *, num_groups: int = 32, num_heads: int = 1
) -> dict[str, Array]:
    """U-Net (note, 2.2): Descend, Ascend, y ← Conv(swish(GroupNorm(y₁)), C' = 3, F = 3, P = 1)."""
    sizes = {"num_groups": num_groups, "num_heads": num_heads}
    z = descend(x, u, part(weights, "descend"), **sizes)
    steps = {f"z{i}": image for i, image in z.items()}
    steps |= ascend(z, u, part(weights, "ascend"), **sizes)
    normed = group_norm(steps["y1"][np.newaxis], part(weights, "norm"), num_groups=num_groups)[0]
    steps["y"] = conv(swish(normed), part(weights, "conv"), padding=1)
    return steps
