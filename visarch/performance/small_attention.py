"""Attention among few pixels, as its equation is written."""

import torch
from torch import Tensor

from visarch.blocks.attention import Attn, attention

_MOST_PIXELS = 256
"""Above, torch's fused kernel is faster, which never holds a number for each pair of pixels."""


class FastAttn(Attn):
    """Attn, by products of whole matrices where they are faster: for few pixels in bf16 on a CPU.

    There the gradient of torch's fused kernel takes up to six times as long, the longest where the
    pixels are no multiple of 16, as the 49 of a 7 × 7 map are. Equal to Attn but for rounding.
    """

    @staticmethod
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        suits = (
            query.device.type == "cpu"
            and query.dtype == torch.bfloat16
            and query.shape[-2] <= _MOST_PIXELS
            and query.requires_grad
            and not torch.compiler.is_compiling()
        )
        return attention(query, key, value) if suits else Attn.attend(query, key, value)
