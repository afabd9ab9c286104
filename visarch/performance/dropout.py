"""Dropout whose mask takes a quarter of the random numbers."""

import torch
from torch import Tensor, nn

_LEVELS = 2**16
_WORD = torch.int64
_PER_WORD = 4


class FastDropout(nn.Dropout):
    """``nn.Dropout`` on a CPU, where drawing takes longest: four numbers from one of 64 bits.

    y = x m / (1 − p), with m = 0 where a number of 16 bits is below p · 2¹⁶, which rounds p to a
    multiple of 2⁻¹⁶; 1 elsewhere.

    The mask is drawn from torch's generator, in the order in which x lies in memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        threshold = round(self.p * _LEVELS)
        known = 0 < threshold < _LEVELS and x.numel()
        if not (self.training and known and x.device.type == "cpu"):
            return super().forward(x)
        words = torch.empty(-(-x.numel() // _PER_WORD), dtype=_WORD)
        words.random_(torch.iinfo(_WORD).min, None)
        numbers = words.view(torch.int16)[: x.numel()]
        mask = torch.empty_like(x)
        in_memory = mask.as_strided((x.numel(),), (1,))
        in_memory.copy_(numbers >= threshold - _LEVELS // 2).mul_(_LEVELS / (_LEVELS - threshold))
        return x * mask
