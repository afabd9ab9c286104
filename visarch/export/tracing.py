"""A graph as a program of tensor operations, with its free axes as symbols."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from visarch.export.graphs import Graph


def trace(graph: Graph) -> ExportedProgram:
    """The program, free of this package and of this machine's paths; all inputs but the first go by
    their names."""
    first, *others = graph.inputs.items()
    with quietly(), torch.no_grad():
        program = torch.export.export(
            graph.module.eval(), (first[1],), dict(others), dynamic_shapes=shapes(graph)
        )
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def shapes(graph: Graph) -> dict[str, dict[int, Dim]]:
    """The symbols of each input's free axes; the same name is the same length."""
    names = {name for axes in graph.free.values() for name in axes.values()}
    symbols = {name: Dim(name, min=1) for name in names}
    return {
        given: {axis: symbols[name] for axis, name in graph.free[given].items()}
        for given in graph.inputs
    }


@contextmanager
def quietly() -> Iterator[None]:
    """Without what PyTorch's exporters say of themselves: old ways of their own, and packages of
    operators that no model here has."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
