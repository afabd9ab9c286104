"""Every command and every program on the pages works as it stands there.

Commands that train are given a moment's training, after the real parser has read them; those that
start a server, several processes or a benchmark are read by the parser and not started.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, name, spans
from tests.docs.world import World, reduced, shortened
from visarch.cli import VERBS, _choose
from visarch.cli.flags import flag_names, parse
from visarch.training.config import TrainConfig

COMMANDS = frozenset(
    {
        *("visarch", "torchrun", "accelerate", "pip", "make", "python", "git", "cd"),
        *("hf", "jq", "echo", "tensorboard"),
    }
)
NOT_OF_VISARCH = frozenset({"--no-deps", "--multi_gpu", "--nproc-per-node", "--from"})
"""Flags of other programs that the text names on their own."""
RUN = {
    *("check", "evaluate", "report", "predict", "sample"),
    *("reconstruct", "interpolate", "embed", "describe", "verify"),
}
"""Verbs that are run, and not only read, beside `train`."""
RUN_OF_PAGE = {"docs/diffusion.md": "runs/0001-diffusion-digits"}
"""What RUN stands for, where it is not a classifier."""


def is_shell(block: Block) -> bool:
    """Whether a block holds commands; where one line does, all do."""
    if block.language in ("bash", "sh", "shell", "console"):
        return True
    first = [words[0] for words in commands(block)] if not block.language else []
    return any(word in COMMANDS for word in first)


def every_command() -> dict[str, tuple[Path, list[str]]]:
    """Each command once, by the first place where it stands."""
    found, seen = {}, set()
    for page in PAGES:
        for block in filter(is_shell, blocks(page)):
            for number, words in enumerate(commands(block)):
                if tuple(words) not in seen:
                    seen.add(tuple(words))
                    found[f"{block.place}+{number}"] = (page, words)
    return found


def python_pages() -> dict[str, list[Block]]:
    """The programs of each page, in order."""
    found: dict[str, list[Block]] = defaultdict(list)
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                found[name(page)].append(block)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("place", every_command())
def test_command(place: str, world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(world.folder)
    page, words = every_command()[place]
    program, *rest = words
    match program:
        case "visarch":
            run_visarch(rest, page, world)
        case "torchrun" | "accelerate":
            start = rest.index("-m")
            assert rest[start + 1] == "visarch"
            read_visarch(rest[start + 2 :])
        case "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in rest if "=" not in word} <= {*targets}
        case "pip":
            check_install(rest)
        case "python":
            assert (ROOT / rest[0]).is_file()
        case _:
            assert program in COMMANDS


def run_visarch(words: list[str], page: Path, world: World) -> None:
    """Run a command, or read it where running it would take long."""
    run = RUN_OF_PAGE.get(name(page), "runs/0001-classifier-photos")
    meant = {"RUN": run, "CLASSIFIER": "runs/0001-classifier-" + run.rpartition("-")[2]}
    words = [meant.get(word, word) for word in words]
    words = [found for word in words for found in world.expand(world.provide(word))]
    if "--data" in words:
        world.provide_data(words[words.index("--data") + 1])
    if (verb := read_visarch(words)) is None:
        return
    if isinstance(verb, TrainConfig):
        assert shortened(replace(verb, out=world.new_run())).main() in (0, None)
    elif words[0] in RUN or words[:2] == ["train", "--resume"]:
        verb = replace(verb, cases=2) if words[0] == "verify" else reduced(verb)
        assert verb.main() in (0, None)


def read_visarch(words: list[str]) -> Any:
    """What the parser makes of a command; nothing where there is no verb."""
    if words[0].startswith("--"):
        assert words in (["--help"], ["--version"])
        return None
    verb, rest = _choose(words)
    assert verb is not None
    module, _, class_name = VERBS[verb].target.partition(":")
    return parse(getattr(import_module(module), class_name), rest, f"visarch {verb}")[0]


def check_install(words: list[str]) -> None:
    extras = {extra for word in words for extra in re.findall(r"\[([\w,-]+)\]", word)}
    project = (ROOT / "pyproject.toml").read_text()
    for extra in {one for several in extras for one in several.split(",")}:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


@pytest.mark.parametrize("page", python_pages())
def test_python(page: str, world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(world.folder)
    namespace: dict[str, Any] = {}
    for block in python_pages()[page]:
        tree = ast.parse("\n" * (block.line - 1) + block.text)  # so that errors tell the line
        if block.is_fragment:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                world.provide(node.value)
        exec(compile(tree, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_flags_within_the_text(page: Path):
    known = {flag for verb in VERBS for flag in flags_of(verb)} | {"--debug", "--help", "--version"}
    for line, span in spans(page):
        place, words = f"{name(page)}:{line}: {span}", span.split()
        if words[0] == "visarch" and len(words) > 1 and "VERB" not in span:
            known_here = flags_of_command(words[1:], place)
        elif words[0].startswith("--"):
            known_here = known | NOT_OF_VISARCH
        else:
            continue
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= known_here, place


def flags_of(verb: str) -> set[str]:
    module, _, class_name = VERBS[verb].target.partition(":")
    return {*flag_names(getattr(import_module(module), class_name))}


def flags_of_command(words: list[str], place: str) -> set[str]:
    """The flags of the verb that a command in the text begins with."""
    named = [verb for verb in VERBS if verb.split()[0] == words[0]]
    assert named or words[0].startswith("--"), place
    exact = [verb for verb in named if verb.split()[1:] == words[1 : len(verb.split())]]
    return {flag for verb in exact or named for flag in flags_of(verb)} | {
        *("--help", "--debug", "--version", "--resume")
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_command_is_misspelt_beyond_recognition(page: Path):
    for block in blocks(page):
        if is_shell(block):
            for words in commands(block):
                assert words[0] in COMMANDS, f"{block.place}: {' '.join(words)}"
        elif not block.language:
            first = {words[0] for words in commands(block)}
            near = {word for word in first if difflib.get_close_matches(word, ["visarch"], 1, 0.8)}
            assert not near, block.place
