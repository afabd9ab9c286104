"""Training steps of ResNet-50 on small images, beside transformers'."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visarch.bench.harness import EXACT, LOW_PRECISION, Agreement, Contender, Race, Work, agree
from visarch.bench.peers import huggingface
from visarch.bench.steps import OurStep, PeerStep, digits, in_eval, unit_images
from visarch.models.config import ResNetConfig
from visarch.models.resnet import ResNet
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.classifier_task import ClassifierTask

_LEARNING_RATE = 5e-5


@dataclass(frozen=True)
class ResNetTrain:
    """The cross-entropy of ten classes on images of 3 × 32 × 32, with AdamW, as theirs is."""

    packages: ClassVar = ("transformers",)

    batch_size: int = 32
    side: int = 32
    config: ResNetConfig = ResNetConfig(num_classes=10)

    def races(self) -> Iterator[Race]:
        data = digits(side=self.side, channels=self.config.in_channels)
        train = data.splits["train"]
        assert train.labels is not None
        tensors = unit_images(data), train.labels
        settings = ClassifierTrainConfig(
            data="digits",
            batch_size=self.batch_size,
            optimizer="adamw",
            learning_rate=_LEARNING_RATE,
            weight_decay=0.0,
            clip=1.0,
            label_smoothing=0.0,
            crop=0,
            flip="no",
            rotate=0.0,
            zoom=0.0,
            cutout=0,
        )
        plain = ResNet(self.config).eval()
        x = torch.rand(4, *data.shape)

        @torch.no_grad()
        def copied() -> Iterator[Agreement]:
            theirs = huggingface.resnet(plain)(x).logits
            yield agree("transformers' with our weights, all fp32", plain(x), theirs, EXACT)

        def ours() -> Work:
            step = OurStep(ClassifierTask(settings, data), plain, train, settings)
            return Work(step, lambda: in_eval(step.model, x))

        def theirs() -> Work:
            network = huggingface.resnet(plain)

            def loss(images: Tensor, labels: Tensor) -> Tensor:
                return network(images, labels=labels).loss

            optimizer = torch.optim.AdamW(
                network.parameters(), lr=_LEARNING_RATE, weight_decay=0.0, fused=True
            )
            step = PeerStep(network, loss, optimizer, tensors, settings)
            return Work(step, lambda: in_eval(network, x).logits)

        yield Race(
            f"batch {self.batch_size}",
            Contender("visarch", ours, "prepare(model, training=True), fused AdamW, PowerEma"),
            (
                Contender(
                    "transformers, eager fp32",
                    theirs,
                    "a 3×3 stem in place of its own, its trainer's default optimizer (fused AdamW) "
                    "and clipping, torch's moving average",
                    tolerance=LOW_PRECISION,
                    bar=4,
                ),
            ),
            count=self.batch_size,
            check=copied,
        )
