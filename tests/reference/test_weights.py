"""How weights are handed out, and that the oracle depends on nothing it is to judge."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

import visarch.reference
from visarch.reference.weights import has, part

FILES = sorted(Path(visarch.reference.__file__).parent.glob("*.py"))


def test_parts():
    one, two, three = (np.array([float(i)]) for i in range(3))
    weights = {"conv.weight": one, "conv1.weight": two, "conv.norm.weight": three}
    assert part(weights, "conv") == {"weight": one, "norm.weight": three}
    assert part(part(weights, "conv"), "norm") == {"weight": three}
    assert has(weights, "conv1")
    assert not has(weights, "conv2")
    assert not has(weights, "con")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_oracle_is_independent(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            root = module.split(".")[0]
            assert (
                root == "numpy"
                or root in sys.stdlib_module_names
                or module.startswith("visarch.reference")
            ), f"{file.name} imports {module}"
