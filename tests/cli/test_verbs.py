"""What every verb in the table keeps to."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import pytest

from visarch import cli
from visarch.cli import VERBS
from visarch.cli.flags import flag_names
from visarch.run import TASKS


def arguments_for(name: str) -> list[str]:
    """What to type for a verb, up to its flags; a flag in its name gets a value."""
    return [*name.split(), "RUN"] if "--" in name else name.split()


def dataclass_of(name: str) -> type:
    module, _, class_name = VERBS[name].target.partition(":")
    return getattr(import_module(module), class_name)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_a_frozen_dataclass_with_a_main(name: str):
    verb = dataclass_of(name)
    assert dataclasses.is_dataclass(verb)
    assert verb.__dataclass_params__.frozen
    assert list(inspect.signature(verb.main).parameters) == ["self"]


@lru_cache
def help_of(name: str) -> tuple[str, set[str]]:
    """A verb's help as the shell shows it, and the modules that had to be loaded for it."""
    arguments = [*arguments_for(name), "--help"]
    code = f"import sys; from visarch.cli import main; main({arguments}); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert result.returncode == 0, result.stderr
    text, _, modules = result.stdout.rstrip().rpartition("\n")
    return text, set(modules.split())


def options_in(help_text: str) -> dict[str, str]:
    """What stands in the boxes of a help text: names and metavar of each option, and its text."""
    options: dict[str, str] = {}
    for line in re.findall(r"^│ (.*) │$", help_text, re.MULTILINE):
        head, _, text = line.rstrip().partition("  ")
        if head:
            options[head] = ""
        options[list(options)[-1]] += text.strip() + " "
    return options


@pytest.mark.parametrize("name", VERBS)
def test_help_describes_the_verb_and_its_flags(name: str):
    text, _ = help_of(name)
    verb = dataclass_of(name)
    assert (verb.__doc__ or "").strip().splitlines()[0][:40] in text

    options = options_in(text)
    for head, meaning in options.items():
        assert not meaning.strip().startswith("("), f"{head} has no docstring"
    # The names which a misspelt flag is compared with are the ones that tyro reads.
    names = re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", " ".join(options))
    assert sorted({*names} - {"-h", "--help"}) == sorted(flag_names(verb))


@pytest.mark.parametrize("name", VERBS)
def test_help_loads_nothing_slow(name: str):
    _, modules = help_of(name)
    assert "tyro" in modules
    assert not {"torch", "numpy", "matplotlib", "accelerate"} & modules


def test_every_module_of_the_folder_is_a_verb_or_a_task_s_part_of_one():
    plumbing = {"__init__", "flags", "interrupt"}
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - plumbing
    listed = {verb.target.partition(":")[0].rpartition(".")[2] for verb in VERBS.values()}
    parts = {f"{verb}_{task}" for verb in listed for task in TASKS.values()}
    assert listed <= modules <= listed | parts
