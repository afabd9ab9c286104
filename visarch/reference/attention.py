"""Multi-head self-attention over the pixels of one image (note, 1.3)."""

from __future__ import annotations

import numpy as np

from visarch.reference.weights import Array, Weights


def softmax(scores: Array) -> Array:
    """Row-wise softmax: exp(s_j) / Σ_k exp(s_k), each row shifted by its maximum."""
    y = np.empty_like(scores)
    for row in range(scores.shape[0]):
        powers = np.exp(scores[row] - np.max(scores[row]))
        y[row] = powers / np.sum(powers)
    return y


def attention(query: Array, key: Array, value: Array) -> Array:
    """Step 3 of Attn (note, 1.3): softmax(q kᵀ / √d) v for one head, all (HW × d)."""
    return softmax(query @ key.T / np.sqrt(query.shape[1])) @ value


def attn(x: Array, weights: Weights, *, num_heads: int = 1) -> Array:
    """Attn (note, 1.3): the five steps, with U^{z,h} and b^{z,h} of every head taken apart.

    ``projection.weight`` (3Kd × C) holds the transposed U^{z,h}: all queries head by head, then
    all keys, then all values; ``output.weight`` (C × Kd) holds Vᵀ.
    """
    num_channels, *sizes = x.shape
    projection, offsets = weights["projection.weight"], weights["projection.bias"]
    head_dim = projection.shape[0] // (3 * num_heads)

    def linear(z: int, h: int) -> tuple[Array, Array]:
        first = (z * num_heads + h) * head_dim
        rows = slice(first, first + head_dim)
        return projection[rows].T, offsets[rows]

    # 1. x_txt ← x.view(C, HW)ᵀ                                                   (HW × C)
    x_txt = x.reshape(num_channels, -1).T
    heads = []
    for h in range(num_heads):
        # 2. Head-specific queries, keys and values of each pixel.                   (HW × d)
        query, key, value = (x_txt @ u + b for u, b in (linear(z, h) for z in range(3)))
        # 3. Self-attention over the HW pixels.                                      (HW × d)
        heads.append(attention(query, key, value))
    # 4. Combine the heads, recover C.                                               (HW × C)
    y_txt = np.concatenate(heads, axis=1) @ weights["output.weight"].T + weights["output.bias"]
    # 5. y ← (y_txtᵀ).view(C, H, W)
    return y_txt.T.reshape(num_channels, *sizes)
