"""The U-Nets of lucidrains' denoising-diffusion-pytorch: recognised, and refused with the reasons.

They share their outline with the note's U-Net and no block: what stands between the names of the
two is not a matter of renaming, so that equal outputs cannot be had from ours.
"""

import re
from collections.abc import Callable
from typing import NoReturn

from torch import Tensor

from visarch.errors import UserError
from visarch.foreign.files import Weights


def _window(side: int) -> Callable[[Tensor], bool]:
    return lambda weight: weight.ndim >= 3 and weight.shape[-1] == side


def _always(weight: Tensor) -> bool:
    return True


_DIFFERENCES: tuple[tuple[str, Callable[[Tensor], bool], str], ...] = (
    (
        r"^init_conv\.weight$",
        _window(7),
        "the first convolution is 7×7, where the note's is 3×3",
    ),
    (
        r"block1\.norm\.g$",
        _always,
        "blocks normalize each pixel over its channels (RMSNorm) after a convolution, where the "
        "note's apply GroupNorm before it",
    ),
    (
        r"block1\.norm\.weight$",
        _always,
        "blocks normalize after a convolution whose weights are standardized, where the note's "
        "apply GroupNorm before a plain one",
    ),
    (
        r"^(downs|ups|mid_block1)\..*mlp\.1\.weight$",
        _always,
        "time scales and shifts the features (two numbers for each channel), where the note's "
        "context is added",
    ),
    (
        r"^time_mlp\.0\.weights$",
        _always,
        "the features of time are learned or random frequencies",
    ),
    (
        r"to_out\.1\.(g|weight)$",
        _always,
        "attention is linear at the upper levels (a softmax over features and one over pixels)",
    ),
    (
        r"mem_kv$",
        _always,
        "attention has learned keys and values beside those of the pixels",
    ),
    (
        r"^downs\.\d+\.3\.1\.weight$",
        _window(1),
        "sides are halved by folding 2×2 pixels into channels and a 1×1 convolution, where the "
        "note's has a 3×3 convolution of stride 2",
    ),
    (
        r"^ups\.\d+\.3\.1\.weight$",
        _window(3),
        "sides are doubled by repeating pixels before a 3×3 convolution, where the note's has a "
        "transposed one",
    ),
    (
        r"^final_res_block\.",
        _always,
        "the first features come back in a last residual block",
    ),
    (
        r"^final_conv\.weight$",
        _window(1),
        "the last convolution is 1×1, where the note's is 3×3 behind GroupNorm and swish",
    ),
)
"""Names that tell of a difference, what the tensor must be like, and the difference."""


def refuse(weights: Weights) -> NoReturn:
    """Say which of the differences the file's names and shapes show.

    Raises:
        UserError: always.
    """
    found = []
    for pattern, is_so, difference in _DIFFERENCES:
        names = [name for name in weights if re.search(pattern, name) and is_so(weights[name])]
        if names:
            found.append(f"{difference} ({names[0]})")
    if not found or "init_conv.weight" not in weights:
        raise UserError(
            "This is no U-Net of lucidrains' denoising-diffusion-pytorch: init_conv.weight and its "
            f"companions are missing. The file's names begin with {', '.join(list(weights)[:3])}."
        )
    raise UserError(
        "visarch's U-Net cannot compute what this one of lucidrains does, whatever the names: "
        f"{'; '.join(found)}."
    )
