"""Exported networks in other runtimes give what the network gives."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from visarch.bench.peers import runtimes
from visarch.models.resnet import ResNet, ResNetConfig


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor, torch.Tensor]:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = ResNet(ResNetConfig(num_classes=3, depths=(1,), widths=(8,))).eval()
    file, x = tmp_path_factory.mktemp("exported") / "model.onnx", torch.rand(2, 3, 8, 8)
    runtimes.export(model, x, file)
    with torch.no_grad():
        return file, x, model(x)


def test_onnxruntime(exported):
    pytest.importorskip("onnxruntime")
    file, x, expected = exported
    infer = runtimes.onnxruntime(file, x, threads=1)
    torch.testing.assert_close(torch.from_numpy(infer()), expected)


def test_openvino_in_each_precision_that_it_has(exported):
    """In a process of its own: OpenVINO replaces the main thread's stack for signals, and where
    another thread collects it as garbage, the next signal ends the process."""
    pytest.importorskip("openvino")
    file, x, expected = exported
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        for precision in apart.submit(runtimes.openvino_precisions).result():
            outputs = apart.submit(openvino_outputs, file, x, precision).result()
            tolerance = {"fp32": 1e-5, "bf16": 2e-2}[precision]
            torch.testing.assert_close(outputs, expected, rtol=tolerance, atol=tolerance)


def openvino_outputs(file, x, precision):
    return torch.from_numpy(runtimes.openvino(file, x, 1, precision)())
