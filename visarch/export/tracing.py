"""A graph as a program of tensor operations, with its free axes as symbols."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from visarch.export.graphs import Graph


def trace(graph: Graph) -> ExportedProgram:
    """The program, free of this package; all inputs but the first go by their names."""
    names = {name for axes in graph.free.values() for name in axes.values()}
    symbols = {name: Dim(name, min=1) for name in names}
    shapes = {
        given: {axis: symbols[name] for axis, name in graph.free[given].items()}
        for given in graph.inputs
    }
    first, *others = graph.inputs.items()
    with quietly(), torch.no_grad():
        return torch.export.export(
            graph.module.eval(), (first[1],), dict(others), dynamic_shapes=shapes
        )


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
