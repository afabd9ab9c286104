"""ResNet-50 without gradients, beside ONNX Runtime and OpenVINO."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch

from visarch.bench.harness import LOW_PRECISION, Contender, Race, Work
from visarch.bench.inference import evaluation
from visarch.bench.peers import runtimes
from visarch.blocks.normalization import BatchNorm
from visarch.models.config import ResNetConfig
from visarch.models.resnet import ResNet
from visarch.performance.quantization import can_quantize

EIGHT_BITS = 0.05
"""How far outputs may differ where one side computes in int8."""
_BAR, _STRETCH = 1.0, 1.2


@dataclass(frozen=True)
class ResNetInfer:
    """Ten classes of images of 3 × 32 × 32; the best of the others is what counts."""

    packages: ClassVar = ("onnx", "onnxscript", "onnxruntime", "openvino")

    batch_sizes: tuple[int, ...] = (64, 1)
    side: int = 32
    config: ResNetConfig = ResNetConfig(num_classes=10)

    def races(self) -> Iterator[Race]:
        plain = ResNet(self.config)
        images = torch.rand(max(self.batch_sizes), self.config.in_channels, self.side, self.side)
        _redraw_norms(plain.eval())
        with TemporaryDirectory() as folder:
            for size in self.batch_sizes:
                yield self._race(plain, images[:size], Path(folder) / f"{size}.onnx")

    def _race(self, plain: ResNet, x: torch.Tensor, file: Path) -> Race:
        threads = torch.get_num_threads()

        def exported(load: Callable[[], runtimes.Infer]) -> Work:
            if not file.exists():
                runtimes.export(plain, x, file)
            infer = load()
            return Work(infer, lambda: torch.from_numpy(infer()))

        peers = [
            Contender(
                "ONNX Runtime, fp32",
                partial(exported, partial(runtimes.onnxruntime, file, x, threads)),
                "our weights, exported; it has no convolutions in bf16 on CPUs",
                tolerance=LOW_PRECISION,
                bar=_BAR,
                stretch=_STRETCH,
            )
        ]
        for precision in runtimes.openvino_precisions():
            load = partial(runtimes.openvino, file, x, threads, precision)
            peers.append(
                Contender(
                    f"OpenVINO, {precision}",
                    partial(exported, load),
                    "our weights, exported; tuned for latency",
                    tolerance=LOW_PRECISION,
                    bar=_BAR,
                    stretch=_STRETCH,
                )
            )
        if can_quantize():
            quantized = partial(plain.optimize_for_inference, precision="int8", calibration=x)
            peers.append(
                Contender(
                    "visarch, int8",
                    lambda: evaluation(quantized(), x),
                    "not the default: what it costs stands in docs/benchmarks.md",
                    tolerance=EIGHT_BITS,
                )
            )
        return Race(
            f"batch {len(x)}",
            Contender(
                "visarch",
                lambda: evaluation(plain.optimize_for_inference(), x),
                "optimize_for_inference()",
            ),
            peers,
            count=len(x),
        )


@torch.no_grad()
def _redraw_norms(model: ResNet) -> None:
    """Let every number of a BatchNorm matter, as after training: a norm left out would show.

    Statistics of images at random weights would say nothing: such a network is chaotic, and makes a
    fifth of its output of what rounding to bf16 leaves.
    """
    for norm in model.modules():
        if isinstance(norm, BatchNorm):
            norm.running_var.uniform_(0.5, 1.5)
            norm.weight.normal_(1, 0.1)
            norm.running_mean.normal_(0, 0.1)
            norm.bias.normal_(0, 0.1)
