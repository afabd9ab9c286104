"""Imports point one way: blocks, then models, then what wires tasks; only the CLI knows the CLI."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import visarch

PACKAGE = Path(visarch.__file__).parent

# The rooms a room may import from; a room which is not named may import any but those it may not.
ALLOWED = {
    "errors": set[str](),
    "blocks": {"blocks", "errors"},
    "models": {"models", "blocks", "errors"},
    "objectives": {"objectives", "errors"},
    "reference": {"reference"},
    "data": {"data", "errors"},
}
FORBIDDEN = {
    "sampling": {"models", "training"},
    "evaluation": {"models", "training"},
}
MAY_IMPORT_THE_CLI = {"cli", "__main__"}

SLOW = {"torch", "numpy", "matplotlib", "accelerate", "huggingface_hub", "mlxtend", "PIL"}
NOT_FOR_HELP = SLOW | {"tyro", "typeguard", "rich", "yaml", "asyncio", "importlib.metadata"}
NOT_FOR_A_STEP = {
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.tensor",
    "sympy",
    "matplotlib",
    "pandas",
    "sklearn",
    "scipy",
    "jinja2",
    "visarch.describe.networks",
    "visarch.report",
    "visarch.training.dry_run",
}


def modules_imported(source: str, package: str) -> Iterator[str]:
    """Every module that a source text imports, at any depth, relative names resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(source: str, package: str) -> set[str]:
    """The parts of visarch (``blocks``, ``models``, ...) that a source text imports."""
    parts = [module.split(".") for module in modules_imported(source, package)]
    return {part[1] for part in parts if part[0] == "visarch" and len(part) > 1} - {"__version__"}


def test_imports_are_found_however_they_are_written():
    source = """
import torch.nn
from visarch import Conv
import visarch.blocks.attention
from visarch.models import unet
from ..objectives import elbo
from . import split
def late():
    from visarch.cli.flags import parse
"""
    assert set(modules_imported(source, "visarch.data")) >= {"torch.nn", "visarch.data.split"}
    assert rooms_imported(source, "visarch.data") == {
        *("Conv", "blocks", "models", "objectives", "data", "cli")
    }


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_one_way(path: Path):
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0].removesuffix(".py")
    package = ".".join(["visarch", *relative.parts[:-1]])
    imported = rooms_imported(path.read_text(), package)

    if room in ALLOWED:
        assert imported <= ALLOWED[room]
    assert not imported & FORBIDDEN.get(room, set())
    assert room in MAY_IMPORT_THE_CLI or "cli" not in imported
    # Inside the package a name is imported from where it is written, not through the facade.
    assert not imported & set(visarch.__all__)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("reference/*.py")), ids=lambda path: path.name)
def test_the_reference_owes_nothing_to_torch(path: Path):
    roots = {name.split(".")[0] for name in modules_imported(path.read_text(), "visarch.reference")}
    assert roots <= {"numpy", "visarch"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "statement",
    [
        "import visarch",
        "import visarch.cli",
        "import visarch.errors",
        "from visarch.cli import main; main(['--help'])",
        "from visarch.cli import main; main(['train'])",
        "from visarch.cli import main; main(['smaple'])",
    ],
)
def test_nothing_slow_is_imported_before_it_is_needed(statement: str):
    assert not SLOW & modules_after(statement)


def test_help_is_read_off_a_list():
    assert not NOT_FOR_HELP & modules_after("from visarch.cli import main; main(['--help'])")


@pytest.mark.parametrize("task", ["vae", "classifier", "diffusion"])
def test_the_first_step_comes_before_what_it_does_not_need(task: str, tmp_path: Path):
    """Loading torch's compiler, or sympy, would take as long as all of a short start."""
    arguments = ["train", task, "--data", "digits", "--steps", "2", "--batch-size", "4"]
    statement = f"""
import contextlib
from visarch.cli import main
from visarch.training.trainer import Trainer
def step(self, plain=Trainer.step):
    plain(self)
    raise SystemExit
Trainer.step = step
with contextlib.suppress(SystemExit):
    main({[*arguments, "--device", "cpu", "--out", str(tmp_path / "run")]})
"""
    loaded = modules_after(statement)
    assert "visarch.training.trainer" in loaded
    assert (tmp_path / "run" / "checkpoints").exists()
    assert not NOT_FOR_A_STEP & loaded


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh Python holds after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


def test_a_slow_module_is_noticed():
    assert {"numpy"} == SLOW & modules_after("import numpy")


@pytest.mark.parametrize("name", visarch.__all__)
def test_public_names_resolve(name: str):
    assert getattr(visarch, name).__name__ == name
