"""``visarch completion``: the shells themselves are asked what they would complete."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from visarch.cli import VERBS
from visarch.cli.completion import commands
from visarch.cli.flags import flag_names

TYPED = [
    ("tr", {"train"}),
    ("train ", {"vae", "classifier", "diffusion", "--resume"}),
    ("train vae --prec", {"--precision"}),
    ("train vae --precision ", {"auto", "fp32", "bf16", "fp16"}),
    ("train classifier --optimizer s", {"sgd"}),
    ("train vae --data di", {"digits"}),
    ("train vae --learning-rate ", set()),
    ("train --resume run --st", {"--steps"}),
    ("describe resnet1", {"resnet18", "resnet101", "resnet152"}),
    ("describe unet --nd", {"--ndim"}),
    ("describe unet --ndim ", {"1", "2", "3"}),
    ("evaluate run --sampler dp", {"dpm++"}),
    ("evaluate run --js", {"--json"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("bench unet-", {"unet-train", "unet-infer"}),
    ("check pic", {"pictures"}),
]
"""What is typed after `visarch`, and what a shell is to offer."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one types: a folder of pictures, and the scripts."""
    path = tmp_path_factory.mktemp("completion")
    (path / "pictures").mkdir()
    return path


def script(shell: str, visarch, folder: Path) -> Path:
    path = folder / f"visarch.{shell}"
    path.write_text(visarch(f"completion {shell}")[0])
    return path


def ask(shell: str, *arguments: str, folder: Path) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    result = subprocess.run(
        [shell, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    return result.stdout


def in_bash(words: list[str], visarch, folder: Path) -> list[str]:
    code = f"""
source {shlex.quote(str(script("bash", visarch, folder)))}
COMP_WORDS=({shlex.join(words)})
COMP_CWORD={len(words) - 1}
_visarch visarch "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return ask("bash", "--norc", "-c", code, folder=folder).split()


@pytest.mark.parametrize(("typed", "offered"), TYPED, ids=lambda value: str(value))
def test_bash(typed: str, offered: set[str], visarch, folder: Path):
    words = ["visarch", *typed.split(" ")]
    assert set(in_bash(words, visarch, folder)) == offered


def test_bash_offers_all_verbs_first(visarch, folder: Path):
    offered = in_bash(["visarch", ""], visarch, folder)
    verbs = list(dict.fromkeys(name.split()[0] for name in VERBS))
    assert offered == [*verbs, "--help", "--version"]


def test_bash_takes_an_equals_sign_for_a_word_of_its_own(visarch, folder: Path):
    words = ["visarch", "train", "vae", "--precision", "=", "b"]
    assert in_bash(words, visarch, folder) == ["bf16"]
    assert set(in_bash([*words[:-2], "="], visarch, folder)) == {"auto", "fp32", "bf16", "fp16"}


@pytest.mark.parametrize("name", VERBS)
def test_bash_offers_every_flag(name: str, visarch, folder: Path):
    module, _, class_name = VERBS[name].target.partition(":")
    flags = flag_names(getattr(import_module(module), class_name))
    offered = in_bash(["visarch", *name.split(), "run", "-"], visarch, folder)
    assert offered == [*flags, "--help", "--debug"]


def test_a_name_with_a_space_is_one_answer(visarch, tmp_path: Path):
    (tmp_path / "my pictures").mkdir()
    script("bash", visarch, tmp_path)
    code = """
source visarch.bash
COMP_WORDS=(visarch check my); COMP_CWORD=2
_visarch
printf '%s' "${#COMPREPLY[@]} ${COMPREPLY[0]}"
"""
    assert ask("bash", "--norc", "-c", code, folder=tmp_path) == "1 my pictures"


@pytest.mark.parametrize(("typed", "offered"), TYPED, ids=lambda value: str(value))
def test_fish(typed: str, offered: set[str], visarch, folder: Path):
    path = script("fish", visarch, folder)
    code = f"source {shlex.quote(str(path))}; complete -C {shlex.quote('visarch ' + typed)}"
    lines = ask("fish", "--no-config", "-c", code, folder=folder).splitlines()
    answers = {line.partition("\t")[0].rstrip("/") for line in lines}
    if typed.endswith(" "):  # fish offers files beside a verb's own words
        answers -= {path.name for path in folder.iterdir()}
    assert answers == offered


def test_zsh_reads_it(visarch, folder: Path):
    path = script("zsh", visarch, folder)
    ask("zsh", "-f", "-n", str(path), folder=folder)
    code = f"autoload -Uz compinit; compinit -D -u; source {shlex.quote(str(path))}"
    code += "; print $_comps[visarch]"
    assert ask("zsh", "-f", "-c", code, folder=folder) == "_visarch\n"


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.words)
def test_every_flag_says_what_it_means(command):
    for name, flag in command.flags.items():
        assert flag.meaning or name in ("-n",), name
        assert len(flag.meaning) < 200


def test_the_script_is_made_without_anything_slow():
    code = """
import sys
from visarch.cli import main
main(["completion", "bash"])
assert not {"torch", "numpy", "matplotlib", "rich"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
