"""The notebooks run from top to bottom, and hold no output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot

from tests.docs.pages import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SETTINGS = {
    "three_models_on_digits": {
        "STEPS": 2,
        "SAMPLES": 12,
        "NETWORKS": {
            "vae": "--latent-dim 4 --channels 8 --depth 1",
            "classifier": "--block residual --depths 1 1 --widths 4 6",
            "diffusion": "--widths 8 16 --num-groups 4 --context-dim 16 --sampling-steps 2",
        },
    }
}
"""What the first cell's settings are in the test: they stand under these names in the notebook."""


def code(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS.get(notebook.stem, {})
    namespace: dict[str, Any] = {}
    first, *others = code(notebook)
    exec(compile(first, f"{notebook.name}[0]", "exec"), namespace)
    assert {*settings} <= {*namespace}
    namespace |= settings
    for number, source in enumerate(others, start=1):
        exec(compile(source, f"{notebook.name}[{number}]", "exec"), namespace)
    pyplot.close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_holds_no_output(notebook: Path):
    content = json.loads(notebook.read_text("utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert {*content} == {"cells", "metadata", "nbformat", "nbformat_minor"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        is_code = cell["cell_type"] == "code"
        assert is_code or cell["cell_type"] == "markdown"
        extra = {"outputs", "execution_count"} if is_code else set()
        assert {*cell} == {"cell_type", "id", "metadata", "source"} | extra
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 2
