"""Claims about self-attention over pixels (note, 1.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from visarch.blocks.attention import Attn, attention
from visarch.reference import attention as reference
from visarch.verify.claim import (
    Array,
    Draw,
    Errors,
    cast,
    claim,
    errors,
    run,
    tensor,
    weights,
)


def draw_attn(draw: Draw) -> tuple[Attn, Array]:
    """An Attn with one to four heads, of size C/K or of another, and one image."""
    heads = draw.integer(1, 4)
    channels = heads * draw.integer(1, 3)
    head_dim = draw.choice([None, draw.integer(1, 5)])
    module = Attn(channels, num_heads=heads, head_dim=head_dim, ndim=draw.ndim)
    x = 2 * draw.array(channels, *draw.sizes(1, 5 if draw.ndim < 3 else 3))
    return draw.fill(module), x


def draw_heads(draw: Draw) -> tuple[Array, Array, Array]:
    """Queries, keys and values of some heads: (K, n, d) each."""
    shape = (draw.integer(1, 4), draw.integer(1, 12), draw.integer(1, 6))
    return 3 * draw.array(*shape), draw.array(*shape), draw.array(*shape)


@claim("Attn is its five steps, for 1 to 4 heads of any size", "note, 1.3")
def attn_is_its_steps(draw: Draw) -> Errors:
    module, x = draw_attn(draw)
    expected = reference.attn(x, weights(module), num_heads=module.num_heads)
    return errors(run(module, x[np.newaxis]), expected[np.newaxis])


@claim("the written-out attention is softmax(q kᵀ/√d) v", "note, 1.3, step 3")
def attention_is_its_formula(draw: Draw) -> Errors:
    inputs = draw_heads(draw)
    expected = np.stack([reference.attention(*head) for head in zip(*inputs, strict=True)])
    return errors(lambda dtype: attention(*(tensor(each, dtype) for each in inputs)), expected)


@claim("the fused attention of Attn is the written-out one", "note, 1.3, step 3")
def fused_is_written_out(draw: Draw) -> Errors:
    module, x = draw_attn(draw)

    def written_out(x_txt: Tensor) -> Tensor:
        projected = module.projection(x_txt).unflatten(1, (3, module.num_heads, module.head_dim))
        attended = attention(*projected.permute(1, 2, 0, 3))  # (K, n, d)
        return module.output(attended.transpose(0, 1).flatten(1))

    expected = written_out(tensor(x).flatten(1).T).T.reshape(x.shape)
    return errors(run(module, x[np.newaxis]), expected[None])


@claim("each pixel's attention is positive and sums to one", "note, 1.3, step 3")
def rows_sum_to_one(draw: Draw) -> Errors:
    pixels = draw.integer(1, 10)
    query, key = 3 * draw.array(1, pixels, pixels), draw.array(1, pixels, pixels)

    def row_sums(dtype: torch.dtype) -> Tensor:
        # Attention to the rows of the identity matrix returns the attention weights themselves.
        identity = torch.eye(pixels, dtype=dtype)[None]
        return attention(tensor(query, dtype), tensor(key, dtype), identity).abs().sum(-1)

    return errors(row_sums, np.ones((1, pixels)))


@claim("Attn commutes with every permutation of the pixels", "note, 1.3")
def attn_commutes_with_permutations(draw: Draw) -> Errors:
    module, x = draw_attn(draw)
    order = draw.rng.permutation(int(np.prod(x.shape[1:])))

    def permuted(image: Tensor) -> Tensor:
        return image.flatten(2)[:, :, order].view(image.shape)

    expected = permuted(module(tensor(x)[None]))
    return errors(lambda dtype: cast(module, dtype)(permuted(tensor(x, dtype)[None])), expected)
