"""Runtimes for exported networks: ONNX Runtime and OpenVINO."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from visarch.export.tracing import quietly

Infer = Callable[[], Any]


def export(model: nn.Module, x: Tensor, file: Path) -> None:
    """A network in eval mode as an ONNX file, for inputs of this shape."""
    with quietly(), torch.no_grad():
        torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=True, verbose=False)


def onnxruntime(file: Path, x: Tensor, threads: int) -> Infer:
    """What ONNX Runtime makes of the inputs, in fp32, with all of its optimizations."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
    session = InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = {"x": x.numpy()}
    return lambda: session.run(None, inputs)[0]


def openvino_precisions() -> list[Literal["fp32", "bf16"]]:
    """The number formats that OpenVINO has fast code for on this processor."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["fp32", "bf16"] if "BF16" in capabilities else ["fp32"]


def openvino(file: Path, x: Tensor, threads: int, precision: Literal["fp32", "bf16"]) -> Infer:
    """What OpenVINO makes of the inputs, tuned for the latency of one request at a time."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
    }
    request = openvino.compile_model(file, "CPU", settings).create_infer_request()
    inputs = x.numpy()
    return lambda: np.asarray(
        next(iter(request.infer({0: inputs}, share_inputs=True, share_outputs=True).values()))
    )
