"""The two kinds of files that graphs are written to, and how each is opened and run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from visarch.errors import UserError
from visarch.export.graphs import Graph
from visarch.export.tracing import quietly, shapes, trace

Format = Literal["onnx", "torch"]
Answer = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Inputs by name to outputs in order."""

FACTS = "visarch.json"
"""The file within a .pt2 that says what is in it."""

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_MOST_BYTES = 2**31 - 2**24
"""Of the weights in an .onnx file, which as one message of protobuf may have 2 GiB."""


@dataclass(frozen=True)
class Kind:
    """One of them."""

    suffix: str
    write: Callable[[Graph, Path, Mapping[str, Any]], None]
    """A graph to this path, with facts in the file."""
    opened: Callable[[Path, Graph], Answer]
    """What is in the file, on the CPU."""


def require(kind: Format) -> None:
    """That what writes and runs such files is installed.

    Raises:
        UserError: it is not.
    """
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if kind == "onnx" and missing:
        raise UserError(
            f"--format onnx needs {' and '.join(missing)}: pip install 'visarch[export]'"
        )


def _write_onnx(graph: Graph, path: Path, facts: Mapping[str, Any]) -> None:
    """The weights lie in a file beside it, with .data behind its name, where they are too many."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    program = trace(graph)
    with quietly(), torch.no_grad():
        onnx = torch.onnx.export(
            program,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes(graph),
            dynamo=True,
            verbose=False,
        )
    assert onnx is not None
    onnx.model.producer_name = "visarch"
    onnx.model.metadata_props.update(
        {key: fact if isinstance(fact, str) else _json(fact) for key, fact in facts.items()}
    )
    RemoveUnusedNodesPass()(onnx.model)  # constants that no node reads, of which runtimes warn
    for node in onnx.model.graph.all_nodes():
        node.metadata_props.clear()  # which line of which file on this machine made it
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    onnx.save(path, external_data=weights > _MOST_BYTES)


def _open_onnx(path: Path, graph: Graph) -> Answer:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(list(graph.outputs), dict(inputs))


def _write_torch(graph: Graph, path: Path, facts: Mapping[str, Any]) -> None:
    with quietly():
        torch.export.save(trace(graph), path, extra_files={FACTS: _json(facts)})


def _open_torch(path: Path, graph: Graph) -> Answer:
    with quietly():
        module = torch.export.load(path).module()

    def answer(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            first, *others = ((name, torch.from_numpy(inputs[name])) for name in graph.inputs)
            outputs = module(first[1], **dict(others))
        return [
            output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))
        ]

    return answer


KINDS: dict[Format, Kind] = {
    "onnx": Kind(".onnx", _write_onnx, _open_onnx),
    "torch": Kind(".pt2", _write_torch, _open_torch),
}


def _json(fact: Any) -> str:
    return json.dumps(fact, ensure_ascii=False)
