"""Training steps of the note's U-Net, beside labml.ai's."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from visarch.bench.harness import EXACT, LOW_PRECISION, Agreement, Contender, Race, Work, agree
from visarch.bench.peers import labml
from visarch.bench.steps import OurStep, PeerStep, digits, in_eval, unit_images
from visarch.errors import UserError
from visarch.models.config import UNetConfig
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.diffusion_task import DiffusionTask

_LEARNING_RATE = 2e-5


@dataclass(frozen=True)
class UNetTrain:
    """The mean squared error of ε on images of 3 × 32 × 32, with Adam at 2e-5, as theirs is."""

    packages: ClassVar = ("labml-nn",)

    batch_size: int = 32
    side: int = 32
    config: UNetConfig = UNetConfig(attention="residual")
    backend: str = "inductor"
    """Of torch.compile."""

    def races(self) -> Iterator[Race]:
        data = digits(side=self.side, channels=self.config.in_channels)
        settings = DiffusionTrainConfig(
            data="digits",
            batch_size=self.batch_size,
            learning_rate=_LEARNING_RATE,
            prediction="epsilon",
            conditional="no",
            flip="no",
            sampling_steps=1,
            guidance=0,
        )
        plain = labml.like_labml(self.config).eval()
        x = torch.randn(4, *data.shape)
        t = torch.rand(len(x))

        @torch.no_grad()
        def copied() -> Iterator[Agreement]:
            theirs = labml.unet(plain)(x, labml.NUM_STEPS * t)
            yield agree("labml.ai's with our weights, all fp32", plain(x, t), theirs, EXACT)

        def ours() -> Work:
            step = OurStep(DiffusionTask(settings, data), plain, data.splits["train"], settings)
            return Work(step, lambda: in_eval(step.model, x, t))

        def eager() -> Work:
            network = labml.unet(plain)
            loss = labml.diffusion(network).loss
            return theirs(network, loss)

        def compiled() -> Work:
            _check_compiler()
            network = labml.unet(plain).to(memory_format=torch.channels_last)
            fast = torch.compile(network, backend=self.backend)
            loss = labml.diffusion(fast).loss

            def in_bf16(images: Tensor) -> Tensor:
                images = images.contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16):
                    return loss(images)

            return theirs(network, in_bf16)

        def theirs(network: Any, loss: Callable[[Tensor], Tensor]) -> Work:
            optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
            step = PeerStep(network, loss, optimizer, (unit_images(data),), settings)
            return Work(step, lambda: in_eval(network, x, labml.NUM_STEPS * t))

        yield Race(
            f"batch {self.batch_size}",
            Contender("visarch", ours, "prepare(model, training=True), fused AdamW, PowerEma"),
            (
                Contender(
                    "labml.ai, eager fp32",
                    eager,
                    "its defaults, with Adam, clipping and torch's moving average",
                    tolerance=LOW_PRECISION,
                    bar=4.5,
                    stretch=6,
                ),
                Contender(
                    "labml.ai, compiled bf16",
                    compiled,
                    "the same with channels_last, autocast to bf16 and torch.compile",
                    tolerance=LOW_PRECISION,
                    bar=1.5,
                    stretch=2,
                ),
            ),
            count=self.batch_size,
            check=copied,
        )


def _check_compiler() -> None:
    """That torch.compile can work.

    Raises:
        UserError: there is no compiler.
    """
    compilers = os.environ.get("CXX", "g++"), "clang++"
    if not any(map(shutil.which, compilers)):
        raise UserError(
            "This is measured beside torch.compile, which takes a C++ compiler, and there is none: "
            "install one (apt install g++), or name yours in the environment variable CXX."
        )
