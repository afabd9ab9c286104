"""From a dataclass to flags, and from a misspelt flag to the nearest ones."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro

from visarch.cli import is_addressed_to_the_user
from visarch.errors import UserError
from visarch.terminal import Manner, has_colors
from visarch.training.config import LARGEST_INTEGER, spelled

_CONFIG = (
    tyro.conf.OmitArgPrefixes,  # flags of a nested dataclass are as flat as the others
    tyro.conf.PositionalMetavarFromFieldName,  # RUN, not PATH
    tyro.conf.DisallowNone,  # not given is how one says None
    tyro.conf.HelptextFromCommentsOff,  # comments are for readers of the code
)
_NO_FLAG = (tyro.conf.Positional, tyro.conf.Suppress, tyro.conf.Fixed)


class Runnable(Protocol):
    """What a verb's dataclass offers beside its fields."""

    def main(self) -> int | None: ...


T = TypeVar("T")
V = TypeVar("V", bound=Runnable)


def parse(verb: type[V], arguments: Sequence[str], prog: str) -> tuple[V, Manner]:
    """The dataclass filled from the arguments, and how it is to speak.

    Raises:
        UserError: a flag is misspelt (the nearest ones are named), lacks its value or has one of
            another kind, or the dataclass refused a value.
        SystemExit: tyro has printed help, or a complaint.
    """
    command = _spoken(verb)
    known = _flags(command)
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in (*known, "--help"):
            raise UserError(
                f"`{prog}` has no flag {name}. Nearest: {', '.join(nearest(name, known))}. "
                f"`{prog} --help` lists them all."
            )
        short = re.match(r"-[^-]", name) and not _fits(argument, float)
        if short and name[:2] not in (*known, "-h"):
            raise UserError(
                f"`{prog}` has no flag {argument}. What is called so is written ./{argument} where "
                f"a file is meant. `{prog} --help` lists all flags."
            )
    if not {"-h", "--help"} & {*arguments}:
        _check_values(arguments, known)
    colors = has_colors(sys.stdout) and has_colors(sys.stderr)
    tyro._experimental_options["ansi_codes"] = tyro._fmtlib._FORCE_ANSI = colors
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            filled: Any = tyro.cli(command, prog=prog, args=arguments, config=_CONFIG)
            return _part(verb, filled), _part(Manner, filled)
    except SystemExit as stop:
        # What a dataclass says of its own values reads better without a frame around it.
        cause: BaseException | None = stop
        while cause is not None and not _is_refusal(cause):
            cause = cause.__context__
        if cause is not None:
            raise UserError(_with_flag(str(cause), known)) from None
        sys.stderr.write(complaint.getvalue())
        raise


def _spoken(verb: type) -> type:
    """The dataclass with the flags that every verb has, after its own."""
    command = make_dataclass(verb.__name__, [], bases=(Manner, verb), frozen=True)
    command.__doc__ = verb.__doc__
    return command


def _part(kind: type[T], filled: Any) -> T:
    """What a dataclass that others inherit from holds itself."""
    return kind(**{field.name: getattr(filled, field.name) for field in fields(cast(Any, kind))})


def refuse_foreign(verb: Any, task: str, only: Mapping[str, str]) -> None:
    """That no flag was given which is for another task than the run's.

    Args:
        verb: the dataclass of the flags.
        task: what the run was trained for.
        only: the task that each such field is for.

    Raises:
        UserError: one was.
    """
    defaults = {field.name: field.default for field in fields(verb)}
    for name, wanted in only.items():
        value = getattr(verb, name)
        if task != wanted and value != defaults[name]:
            flag = f"--{name.replace('_', '-')}"
            typed = flag if value is True else f"{flag} {spelled(value)}"
            raise UserError(
                f"{typed} is for {wanted} runs, and {verb.run} is a {task} run: leave it out."
            )


class Flag(NamedTuple):
    """What follows a flag."""

    kind: Any
    """The type of its value."""
    several: bool
    """Whether several values follow."""


def flags_of(verb: type) -> dict[str, Flag]:
    """Every ``--flag`` that a verb has: from its fields, those of the dataclasses in it, and those
    that every verb has."""
    return {name: Flag(*_kind(hint)) for name, hint in _flags(_spoken(verb)).items()}


def flag_names(verb: type) -> list[str]:
    """Their names."""
    return list(flags_of(verb))


def _flags(verb: type) -> dict[str, Any]:
    """Every flag and the type of its value."""
    hints = get_type_hints(verb, include_extras=True)
    found: dict[str, Any] = {}
    for field in fields(verb):
        hint, *marks = _annotation(hints[field.name])
        if isinstance(hint, type) and is_dataclass(hint):
            found |= _flags(hint)
        elif not any(mark in _NO_FLAG for mark in marks):
            own = [
                mark.name for mark in marks if getattr(mark, "name", None)
            ]  # --from is a keyword
            name = (own or [field.name])[0].replace("_", "-")
            names = [f"--{name}", f"--no-{name}"] if _is_switch(hint) else [f"--{name}"]
            names += [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
            found |= dict.fromkeys(names, hint)
    return found


def _check_values(arguments: Sequence[str], flags: Mapping[str, Any]) -> None:
    """That each flag is followed by a value of its type, or by several where it takes several.

    Raises:
        UserError: one is not.
    """
    for position, argument in enumerate(arguments, start=1):
        name, equals, value = argument.partition("=")
        name = name.replace("_", "-")
        if name not in flags or _is_switch(flags[name]):
            continue
        following = [value] if equals else list(arguments[position:])
        end = (i for i, text in enumerate(following) if text.startswith("--") or text in flags)
        values = following[: next(end, None)]
        kind, several = _kind(flags[name])
        if not values:
            raise UserError(f"{name} needs a value{_expected(kind, ': ')}.")
        for text in values if several else values[:1]:
            if not text:
                raise UserError(f"{name} is empty; give a value, or leave it out.")
            if not _fits(text, kind):
                raise UserError(f"{name} is {text!r}; it must be{_expected(kind, ' ')}.")
            if kind is int and abs(int(text)) > LARGEST_INTEGER:
                raise UserError(f"{name} is {text}; no number can be above {LARGEST_INTEGER}.")


def _is_switch(hint: Any) -> bool:
    """Whether a flag takes no value: it is given, or given with ``no-`` before its name."""
    return _kind(hint) == (bool, False)


def _kind(hint: Any) -> tuple[Any, bool]:
    """The type of a flag's value, None left aside, and whether it takes several of them."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    return (get_args(hint)[0], True) if get_origin(hint) is tuple else (hint, False)


def _fits(text: str, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return text in map(str, get_args(kind))
    if kind is bool:
        return text in ("True", "False")
    try:
        kind(text)
    except ValueError:
        return False
    return True


_WORDS: dict[Any, str] = {bool: "True or False", int: "a whole number", float: "a number"}


def _expected(kind: Any, before: str) -> str:
    """What a value must be, in words; nothing where anything will do."""
    if get_origin(kind) is Literal:
        return f"{before}one of {', '.join(map(str, get_args(kind)))}"
    return before + _WORDS[kind] if kind in _WORDS else ""


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, ValueError) and is_addressed_to_the_user(error)


def _with_flag(message: str, flags: Iterable[str]) -> str:
    """A dataclass's complaint about a field, as one about the flag: Config: my_size is 0: …"""
    text = re.sub(r"^[A-Z]\w+: ", "", message)
    field = re.match(r"\w*", text)
    flag = f"--{field[0].replace('_', '-')}" if field else ""
    return flag + text[len(flag) - 2 :] if flag in flags else message


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The candidates most like a misspelt name, best first; never none.

    Initials count as a match (``--lr`` for ``--learning-rate``), and so does a part of the name.
    """
    word = name.strip("-")

    def likeness(candidate: str) -> float:
        other = candidate.strip("-")
        initials = "".join(part[0] for part in other.split("-"))
        ratio = difflib.SequenceMatcher(None, word, other).ratio()
        return ratio + (word == initials) + (word in other) * 0.5

    ranked = sorted(candidates, key=likeness, reverse=True)
    best = likeness(ranked[0])
    return [candidate for candidate in ranked[:count] if likeness(candidate) >= best - 0.15]


def _annotation(hint: Any) -> tuple[Any, ...]:
    """A type and the marks that ``Annotated`` hangs on it."""
    return get_args(hint) if get_origin(hint) is Annotated else (hint,)
