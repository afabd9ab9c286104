"""What visarch never does: run code from a file, call home, or depend on what nobody looked at."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import visarch

PACKAGE = Path(visarch.__file__).parent
ROOT = PACKAGE.parent
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

UNPICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
"""Modules whose loaders run what a file tells them to."""
RUN_TEXT = {"eval", "exec", "os.system", "os.popen"}
LOADERS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
"""Loaders that run code from a file unless told not to, and how they are told."""
CLIENTS = {"urllib", "requests", "httpx", "http", "aiohttp", "ftplib", "smtplib"}


def dangers(tree: ast.AST) -> list[str]:
    """What in a module's text could run code from a file, or load it over the network."""
    found = []
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # pickle's errors harm nobody
            harmless = all(alias.name.endswith("Error") for alias in node.names)
            modules = [] if harmless else [node.module or ""]
        modules = [name for name in modules if name != "urllib.parse"]  # which only reads text
        found += [name for name in modules if name.split(".")[0] in UNPICKLERS | CLIENTS]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        told = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in RUN_TEXT or told.get("shell") == "True":
            found.append(name)
        if name in LOADERS and told.get(LOADERS[name][0]) != str(LOADERS[name][1]):
            found.append(f"{name} without {LOADERS[name][0]}={LOADERS[name][1]}")
        if name.startswith("yaml.") and "load" in name and name != "yaml.safe_load":
            found.append(name)
        if told.get("trust_remote_code", "False") != "False":
            found.append("trust_remote_code")
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_runs_code_from_a_file_or_fetches_one(name: str):
    assert dangers(ast.parse(SOURCES[name].read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import load", "import urllib.request", "eval('1')"),
        *("torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f)", "yaml.load(f)"),
        *("subprocess.run('ls', shell=True)", "load_dataset(x, trust_remote_code=True)"),
    ],
)
def test_the_look_at_the_text_sees_what_it_should(text: str):
    assert len(dangers(ast.parse(text))) == 1


def declared() -> list[Requirement]:
    """Every requirement in pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    wanted = [Requirement(text) for text in texts]
    return [requirement for requirement in wanted if requirement.name != "visarch"]


def pins() -> dict[str, str]:
    """What constraints.txt pins, by its canonical name."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = (line.split("#")[0].strip().partition("==") for line in lines)
    return {canonicalize_name(name): version for name, _, version in pairs if version}


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def everything_needed() -> dict[str, Distribution]:
    """What is declared and what that needs in turn, as far as it is installed."""
    found: dict[str, Distribution] = {}
    waiting = declared()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        package = installed(name)
        if package is None or name in found:
            continue
        found[name] = package
        for text in package.requires or []:
            needed = Requirement(text)
            extras = ["", *requirement.extras]
            environments = [{**default_environment(), "extra": extra} for extra in extras]
            if needed.marker is None or any(map(needed.marker.evaluate, environments)):
                waiting.append(needed)
    return found


def test_what_is_declared_is_pinned_to_a_version_that_is_allowed():
    pinned = pins()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} is not {pinned[name]}"


def test_what_that_needs_is_pinned_too():
    # the accelerator's libraries come with the build of torch that a machine has
    free = re.compile(r"nvidia-|cuda-|triton|setuptools$")
    needed = {name for name in everything_needed() if not free.match(name)}
    assert needed - set(pins()) == set()


PERMISSIVE = re.compile(
    r"apache|\bmit\b|mit license|bsd|isc|psf|python software foundation|zlib|hpnd|unlicense|0bsd"
    r"|mpl|mozilla public|public domain|cc0|cnri|mit-cmu",
    re.IGNORECASE,
)
"""Licenses under which a package may be used beside Apache-2.0 without a second thought (and the
MPL, whose conditions are about changed files of its own)."""
FORBIDDEN = re.compile(r"\bA?GPL|(?<!L)GPL|proprietary|non-?commercial", re.IGNORECASE)


def license_of(package: Distribution) -> str:
    """What a package says of its license, in one line."""
    facts = package.metadata
    told = [*(facts.get_all("License-Expression") or []), *(facts.get_all("Classifier") or [])]
    told = [line for line in told if not line.startswith(tuple(_OTHER_CLASSIFIERS))]
    if not told:  # a field that holds a name, or the whole text
        told = (facts.get("License") or "").strip().splitlines()[:2]
    return "; ".join(told)


_OTHER_CLASSIFIERS = [
    *("Development", "Environment", "Framework", "Intended", "Natural", "Operating"),
    *("Programming", "Topic", "Typing"),
]


def test_every_license_is_on_the_list():
    needed = everything_needed()
    assert len(needed) > 30
    told = {name: license_of(package) for name, package in needed.items()}
    refused = {name: text for name, text in told.items() if not PERMISSIVE.search(text)}
    assert refused == {}
    assert {name: text for name, text in told.items() if FORBIDDEN.search(text)} == {}
