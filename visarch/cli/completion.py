"""``visarch completion``: what makes a shell complete verbs, flags and values.

The script holds all there is to complete, so that a shell need not start Python to ask.
"""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from itertools import pairwise
from textwrap import dedent
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from visarch.bench import BENCHMARKS
from visarch.cli import VERBS
from visarch.cli.describe import NAMES
from visarch.cli.flags import flags_of
from visarch.terminal import Manner

_FILES = "@"
"""Among words: whatever files there are."""
_WORDS: dict[str, tuple[str, ...]] = {
    "--data": ("digits", _FILES),
    "--device": ("auto", "cpu", "cuda"),
    **dict.fromkeys(("--name", "--time", "--label", "--only"), ()),
}
"""What may follow flags whose type does not tell."""


class Flag(NamedTuple):
    """What is known of a flag."""

    words: tuple[str, ...] | None
    """What may follow, `_FILES` among it; nothing to choose from; None where no value follows."""
    meaning: str


class Command(NamedTuple):
    """What may follow the words of a command."""

    words: str
    """"evaluate", "train vae"."""
    summary: str
    flags: dict[str, Flag]
    named: tuple[str, ...]
    """What may follow that is no flag."""


@dataclass(frozen=True)
class Completion:
    """Print a script that makes a shell complete verbs, flags and their values.

    bash: `visarch completion bash > ~/.local/share/bash-completion/completions/visarch`; zsh: into
    `_visarch` in a folder of $fpath; fish: into `~/.config/fish/completions/visarch.fish`.
    """

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """The shell that is to read it."""

    def main(self) -> None:
        from visarch.terminal import tell

        script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[self.shell](commands())
        tell({"shell": self.shell, "script": script}, [script])


def commands() -> list[Command]:
    """Every command, as the table of verbs and their dataclasses have it."""
    found = []
    for words, verb in VERBS.items():
        module, _, class_name = verb.target.partition(":")
        kind = getattr(import_module(module), class_name)
        meanings = _meanings(kind) | _meanings(Manner)
        flags = {
            name: Flag(
                _values(name, flag.kind), meanings.get(name.lstrip("-").removeprefix("no-"), "")
            )
            for name, flag in flags_of(kind).items()
        }
        flags["--help"] = Flag(None, "show all flags and what they mean")
        flags["--debug"] = Flag(None, "show the traceback of an error")
        found.append(Command(words, verb.summary, flags, _named(words, kind)))
    return found


def _values(name: str, kind: Any) -> tuple[str, ...] | None:
    """What may follow a flag with values of this type."""
    if kind is bool:
        return None
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if kind in (int, float):
        return ()
    return _WORDS.get(name, (_FILES,))


def _named(words: str, kind: Any) -> tuple[str, ...]:
    """What may be named after a command."""
    known = {"describe": (*NAMES, _FILES), "bench": tuple(BENCHMARKS), "check": ("digits", _FILES)}
    if words in known:
        return known[words]
    first = fields(kind)[0]
    hint = get_args(get_type_hints(kind, include_extras=True)[first.name])[:1]
    choices = get_args(hint[0]) if hint and get_origin(hint[0]) is Literal else ()
    return choices or (_FILES,)


def _meanings(kind: Any) -> dict[str, str]:
    """By flag, the beginning of the text below its field."""
    found: dict[str, str] = {}
    bases: list[Any] = [base for base in reversed(kind.__mro__) if is_dataclass(base)]
    for base in bases:
        (written,) = ast.parse(dedent(inspect.getsource(base))).body
        assert isinstance(written, ast.ClassDef)
        for line, text in pairwise(written.body):
            if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Expr):
                meaning = " ".join(str(ast.literal_eval(text.value)).split())
                found[ast.unparse(line.target).replace("_", "-")] = _beginning(meaning)
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for called in (getattr(remark, "name", None) for remark in get_args(hint)[1:]):
            if called is not None:  # another name for its flag, by tyro's `arg`
                found[called] = found.pop(name.replace("_", "-"))
    hints = get_type_hints(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            found |= _meanings(hints[field.name])
    return found


def _beginning(text: str) -> str:
    """The first sentence or clause."""
    return text.split("; ")[0].split(". ")[0].removesuffix(".")


def _second_words(all_commands: list[Command]) -> dict[str, dict[str, str]]:
    """Of verbs that need to know what: what there is, and what it does."""
    found: dict[str, dict[str, str]] = {}
    for command in all_commands:
        verb, _, second = command.words.partition(" ")
        if second:
            found.setdefault(verb, {})[second] = command.summary
    return found


def _verbs(all_commands: list[Command]) -> dict[str, str]:
    """The first words, and what they do."""
    found: dict[str, str] = {}
    for command in all_commands:
        found.setdefault(command.words.split()[0], command.summary)
    for verb, words in _second_words(all_commands).items():
        found[verb] = ", ".join(word for word in words if not word.startswith("-"))
    return found


_BASH = """\
# Completion of visarch for bash.

_visarch() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command=${{COMP_WORDS[1]}} words="" word
    [[ $current == "=" ]] && current=""
    [[ $previous == "=" ]] && previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    case "${{COMP_WORDS[*]:1:COMP_CWORD - 1}} " in
        " ") words={verbs} ;;
{seconds}
    esac
    [[ $words ]] || case "$command $previous" in  # the value of a flag
{values}
    esac
    [[ $words ]] || case "$command $current" in
{flags}
    esac
    COMPREPLY=()
    for word in $words; do
        if [[ $word == @ ]]; then
            compopt -o filenames 2> /dev/null
            mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen -f -- "$current")
        elif [[ $word == "$current"* ]]; then
            COMPREPLY+=("$word")
        fi
    done
}}

complete -F _visarch visarch
"""


def _bash(all_commands: list[Command]) -> str:
    seconds, values, flags = [], [], []
    for verb, words in _second_words(all_commands).items():
        seconds.append(f'        "{verb} ") words={_joined(words)} ;;')
        for word in (word for word in words if word.startswith("-")):
            seconds.append(f'        "{verb} "*"{word} "*) command="{verb} {word}" ;;')
        seconds.append(f'        "{verb} "*) command="{verb} ${{COMP_WORDS[2]}}" ;;')
    for command in all_commands:
        for name, flag in command.flags.items():
            if flag.words is not None:  # a space is no word, but something
                pattern = shlex.quote(f"{command.words} {name}")
                values.append(f"        {pattern}) words={_joined(flag.words) or ' '} ;;")
        flags += [
            f"        {shlex.quote(command.words + ' ')}-*) words={_joined(command.flags)} ;;",
            f"        {shlex.quote(command.words + ' ')}*) words={_joined(command.named)} ;;",
        ]
    return _BASH.format(
        verbs=_joined([*_verbs(all_commands), "--help", "--version"]),
        seconds="\n".join(seconds),
        values="\n".join(values),
        flags="\n".join(flags),
    )


def _joined(words: Any) -> str:
    return shlex.quote(" ".join(words) or " ")


_ZSH = """\
#compdef visarch
# Completion of visarch for zsh.

_visarch() {{
    local -a words_before=("${{(@)words[2,CURRENT-1]}}")
    local command=$words[2]
    case "$words_before " in
        " ") local -a verbs=(
{verbs}
             --help --version)
             _describe verb verbs; return ;;
{seconds}
    esac
    case $command in
{commands}
    esac
}}

if [[ $funcstack[1] == _visarch ]]; then _visarch "$@"; else compdef _visarch visarch; fi
"""


def _zsh(all_commands: list[Command]) -> str:
    seconds, cases = [], []
    for verb, words in _second_words(all_commands).items():
        lines = [f'        "{verb} ") local -a things=(']
        lines += [f"             {_described(word, summary)}" for word, summary in words.items()]
        lines += ["             ); _describe thing things; return ;;"]
        for flag in (word for word in words if word.startswith("-")):
            lines.append(f'        "{verb} "*"{flag} "*) command="{verb} {flag}" ;;')
        lines.append(
            f'        "{verb} "*) command="{verb} $words[3]"; shift words; ((CURRENT--)) ;;'
        )
        seconds += lines
    for command in all_commands:
        arguments = [
            *(_zsh_flag(name, flag) for name, flag in command.flags.items()),
            shlex.quote(f"*:what:{_zsh_words(command.named)}"),
        ]
        body = " \\\n            ".join(["shift words; ((CURRENT--)); _arguments", *arguments])
        cases.append(f"        {shlex.quote(command.words)}) {body} ;;")
    return _ZSH.format(
        verbs="\n".join(f"             {_described(*v)}" for v in _verbs(all_commands).items()),
        seconds="\n".join(seconds),
        commands="\n".join(cases),
    )


def _described(word: str, meaning: str) -> str:
    return shlex.quote(f"{word}:{meaning}")


def _zsh_flag(name: str, flag: Flag) -> str:
    meaning = "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in flag.meaning)
    value = "" if flag.words is None else f":value:{_zsh_words(flag.words)}"
    equals = "" if flag.words is None or not name.startswith("--") else "="
    return shlex.quote(f"{name}{equals}[{meaning}]{value}")


def _zsh_words(words: tuple[str, ...]) -> str:
    """What completes words, files or both."""
    listed = " ".join(word for word in words if word != _FILES)
    if _FILES not in words:
        return f"({listed})" if listed else " "
    # the space keeps _arguments from adding options that _alternative does not know
    return f' _alternative "words:word:({listed})" "files:file:_files"' if listed else "_files"


def _fish(all_commands: list[Command]) -> str:
    return "\n".join(
        [
            "# Completion of visarch for fish.",
            "",
            "function __visarch_is  # whether these are the first words",
            "    set -l typed (commandline -opc)",
            "    set -e typed[1]",
            "    string match -q -- \"$argv *\" (string join -- ' ' $typed '')",
            "end",
            "",
            *_fish_lines(all_commands),
        ]
    )


def _fish_lines(all_commands: list[Command]) -> Iterator[str]:
    def line(condition: str, *rest: str) -> str:
        return " ".join(["complete -c visarch -n", shlex.quote(condition), *rest])

    for verb, meaning in _verbs(all_commands).items():
        yield line("test (count (commandline -opc)) = 1", "-f -a", verb, "-d", shlex.quote(meaning))
    for verb, words in _second_words(all_commands).items():
        for word, meaning in words.items():
            condition = f"__visarch_is {verb}; and test (count (commandline -opc)) = 2"
            yield line(condition, "-f -a", shlex.quote(word), "-d", shlex.quote(meaning))
    for command in all_commands:
        condition = f"__visarch_is {command.words}"
        for name, flag in command.flags.items():
            option = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            yield line(condition, option, _fish_values(flag), "-d", shlex.quote(flag.meaning))
        if named := [word for word in command.named if word != _FILES]:
            only = "" if _FILES in command.named else "-f "
            yield line(condition, f"{only}-a", shlex.quote(" ".join(named)))


def _fish_values(flag: Flag) -> str:
    if flag.words is None:
        return ""
    listed = shlex.quote(" ".join(word for word in flag.words if word != _FILES))
    return f"{'-rF' if _FILES in flag.words else '-x'} -a {listed}"
