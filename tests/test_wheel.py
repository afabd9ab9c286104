"""What is given to others: built from a copy of the sources, installed where there is nothing else,
and run from there."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import visarch

ROOT = Path(__file__).parents[1]
SOURCES = ("visarch", "tests", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"


def build(kind: str, source: Path, out: Path) -> Path:
    """A wheel or sdist made by the backend that pyproject.toml names."""
    result = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind), str(out)],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return out / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    return build("sdist", copy, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, which hence lacks nothing."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("wheel", source, sdist.parent)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and with what it needs from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "-q"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *offline, str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # in a .pth it is a folder and no more: what is installed there for editing is not found
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        arguments, cwd=installed, env=environment, capture_output=True, text=True, check=True
    )


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = (path for path in (ROOT / "visarch").rglob("*") if path.is_file())
    expected = {str(path.relative_to(ROOT)) for path in package if path.suffix != ".pyc"}
    assert names == expected
    assert "visarch/py.typed" in names


def test_the_sdist_holds_the_sources_and_no_tests(sdist: Path):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"pyproject.toml", "README.md", "LICENSE", "visarch/py.typed"}
    assert not [name for name in names if name.startswith("tests")]


def test_metadata_say_what_it_is(wheel: Path):
    said = metadata(wheel)
    assert said["Name"] == "visarch"
    assert said["Version"] == visarch.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    classifiers = said.get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
    assert "Environment :: Console" in classifiers
    assert not [text for text in classifiers if text.startswith("License")]  # deprecated by PEP 639


def test_license_and_command_are_in_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        found = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        scripts = archive.read(found["entry_points.txt"]).decode()
        assert archive.read(found["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    assert "visarch = visarch.cli:main" in scripts


def test_it_is_the_installed_one_that_runs(installed: Path):
    code = "import visarch; print(visarch.__file__)"
    path = Path(run(installed, str(installed / "bin" / "python"), "-c", code).stdout.strip())
    assert path.is_relative_to(installed)


def test_the_command_runs_from_there(installed: Path):
    command = str(installed / "bin" / "visarch")
    assert run(installed, command, "--version").stdout == f"visarch {visarch.__version__}\n"
    assert "usage: visarch VERB" in run(installed, command, "--help").stdout
    found = json.loads(run(installed, command, "verify", "--cases", "1", "--json").stdout)
    assert found["holds"]
    assert len(found["claims"]) > 50


def test_types_are_found_by_those_who_use_it(installed: Path):
    """mypy reads the annotations of the installed package, not `Any`."""
    pytest.importorskip("mypy")
    program = installed / "program.py"
    program.write_text("from visarch.cli import main\nreveal_type(main())\n")
    python = str(installed / "bin" / "python")
    command = ["mypy", "--follow-imports=silent", "--python-executable", python, program.name]
    said = run(installed, sys.executable, "-m", *command, "--cache-dir", str(installed / "cache"))
    assert re.search(r'Revealed type is "(builtins\.)?int"', said.stdout)
