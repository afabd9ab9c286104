"""Models whose weights mean nothing, as runs; and each kind of file of them, made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visarch.data import Preparation
from visarch.export.files import KINDS
from visarch.run import Run


@pytest.fixture(scope="session")
def run_of():
    """A run of a model, with nothing on disk."""

    def run(model, preparation: Preparation, **told) -> Run:
        usual = dict.fromkeys(
            ("folder", "classes", "vector_names", "assumption", "data", "fingerprint")
        )
        given = {"source": "run", "settings": {}, "seed": 3, **usual, **told}
        return Run(model=model.eval(), preparation=preparation, **given)

    return run


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory):
    """Write a graph; gives what answers, from tensors to tensors."""

    def write(graph, kind: str):
        path = tmp_path_factory.mktemp("graph") / f"{graph.name}{KINDS[kind].suffix}"
        KINDS[kind].write(graph, path, {})
        answer = KINDS[kind].opened(path, graph)
        return lambda **inputs: [
            torch.from_numpy(np.asarray(output))
            for output in answer({name: value.numpy() for name, value in inputs.items()})
        ]

    return write
