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
) -> dict[str, Array]:
    """Descend (note, B.2): z₁ … z₁₂ as "z1" … "z12", made with the weights of the same names."""
    at = Steps(u, num_groups, num_heads)
    z: dict[int, Array] = {}

    def w(i: int) -> Weights:
        return part(weights, f"z{i}")

    z[1] = conv(x, w(1), padding=1)
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
    return {f"z{i}": image for i, image in z.items()}


def ascend(
    z: dict[str, Array], u: Array, weights: Weights, *, num_groups: int = 32, num_heads: int = 1
) -> dict[str, Array]:
    """Ascend (note, B.2): y₁₃ … y₁ as "y13" … "y1", and ȳ₁₀, ȳ₇, ȳ₄ as "y10_bar" and so on."""
    at = Steps(u, num_groups, num_heads)
    y: dict[str, Array] = {}

    def joined(i: int) -> Array:
        return np.concatenate([y[f"y{i + 1}"], z[f"z{i}"]], axis=0)  # y_{i+1} ⊕ z_i

    def w(name: str) -> Weights:
        return part(weights, name)

    turn = at.attn_res_block(z["z12"], w("y13.first"))
    y["y13"] = at.res_block(turn, w("y13.second"))
    for i in (12, 11):
        y[f"y{i}"] = at.attn_res_block(joined(i), w(f"y{i}"))
    y["y10_bar"] = at.attn_res_block(joined(10), w("y10_bar"))
    y["y10"] = trans_conv(y["y10_bar"], w("y10"), stride=2, padding=1)
    for i in (9, 8):
        y[f"y{i}"] = at.attn_res_block(joined(i), w(f"y{i}"))
    y["y7_bar"] = at.attn_res_block(joined(7), w("y7_bar"))
    y["y7"] = trans_conv(y["y7_bar"], w("y7"), stride=2, padding=1)
    for i in (6, 5):
        y[f"y{i}"] = at.res_block(joined(i), w(f"y{i}"))
    y["y4_bar"] = at.res_block(joined(4), w("y4_bar"))
    y["y4"] = trans_conv(y["y4_bar"], w("y4"), stride=2, padding=1)
    for i in (3, 2, 1):
        y[f"y{i}"] = at.res_block(joined(i), w(f"y{i}"))
    return y


def unet(
    x: Array, u: Array, weights: Weights, *, num_groups: int = 32, num_heads: int = 1
) -> dict[str, Array]:
    """U-Net (note, 2.2): Descend, Ascend, y ← Conv(swish(GroupNorm(y₁)), C' = 3, F = 3, P = 1)."""
    sizes = {"num_groups": num_groups, "num_heads": num_heads}
    steps = descend(x, u, part(weights, "descend"), **sizes)
    steps |= ascend(steps, u, part(weights, "ascend"), **sizes)
    normed = group_norm(steps["y1"][np.newaxis], part(weights, "norm"), num_groups=num_groups)[0]
    steps["y"] = conv(swish(normed), part(weights, "conv"), padding=1)
    return steps
