"""The note's U-Net without gradients, beside labml.ai's and one of diffusers'."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from visarch.bench.harness import EXACT, LOW_PRECISION, Agreement, Contender, Race, agree
from visarch.bench.inference import evaluation
from visarch.bench.peers import huggingface, labml
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser

_BARS = {16: 3.5, 1: 2.5}
"""What is to be reached at each batch size, against either peer."""


@dataclass(frozen=True)
class UNetInfer:
    """One evaluation of a denoiser on images of 3 × 32 × 32."""

    packages: ClassVar = ("labml-nn", "diffusers")

    batch_sizes: tuple[int, ...] = (16, 1)
    side: int = 32
    config: UNetConfig = UNetConfig(attention="residual")
    diffusers_widths: tuple[int, ...] = huggingface.UNET_WIDTHS

    def races(self) -> Iterator[Race]:
        plain = labml.like_labml(self.config).eval()
        labmls = labml.unet(plain)
        diffusers = huggingface.unet(self.diffusers_widths, self.side, self.config.num_groups)
        images = torch.randn(max(self.batch_sizes), self.config.in_channels, self.side, self.side)
        times = torch.rand(len(images))
        macs = [huggingface.macs(net, images[:1], times[:1]) / 1e9 for net in (plain, diffusers)]
        for size in self.batch_sizes:
            yield _race(plain, labmls, diffusers, macs, images[:size], times[:size])


def _race(
    plain: Denoiser, labmls: Any, diffusers: Any, macs: Sequence[float], x: Tensor, t: Tensor
) -> Race:
    theirs = x, labml.NUM_STEPS * t

    @torch.no_grad()
    def copied() -> Iterator[Agreement]:
        yield agree("labml.ai's with our weights, all fp32", plain(x, t), labmls(*theirs), EXACT)

    bar = _BARS.get(len(x))
    return Race(
        f"batch {len(x)}",
        Contender(
            "visarch",
            lambda: evaluation(plain.optimize_for_inference(), x, t),
            f"optimize_for_inference(); {macs[0]:.3g} GMAC for an image",
        ),
        (
            Contender(
                "labml.ai, eager fp32",
                lambda: evaluation(labmls, *theirs),
                "our weights",
                tolerance=LOW_PRECISION,
                bar=bar,
            ),
            Contender(
                "diffusers' UNet2DModel, eager fp32",
                lambda: evaluation(diffusers, *theirs, comparable=False),
                "weights of its own, as it is another network (its ascent has other widths, it "
                "enlarges otherwise, its attention has heads and a norm); "
                f"{macs[1]:.3g} GMAC for an image",
                bar=bar,
            ),
        ),
        count=len(x),
        check=copied,
    )
