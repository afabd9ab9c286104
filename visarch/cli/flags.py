"""From a dataclass to flags, and from a misspelt flag to the nearest ones."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

import tyro

from visarch.errors import UserError

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


V = TypeVar("V", bound=Runnable)


def parse(verb: type[V], arguments: Sequence[str], prog: str) -> V:
    """The dataclass filled from the arguments.

    Raises:
        UserError: a flag is misspelt (the nearest ones are named), or the dataclass refused a
            value.
        SystemExit: tyro has printed help, or a complaint.
    """
    known = flag_names(verb)
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in (*known, "--help"):
            raise UserError(
                f"`{prog}` has no flag {name}. Nearest: {', '.join(nearest(name, known))}. "
                f"`{prog} --help` lists them all."
            )
    colors = "NO_COLOR" not in os.environ and sys.stdout.isatty() and sys.stderr.isatty()
    tyro._experimental_options["ansi_codes"] = colors
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(verb, prog=prog, args=arguments, config=_CONFIG)
    except SystemExit as stop:
        # What a dataclass says of its own values reads better without a frame around it.
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        sys.stderr.write(complaint.getvalue())
        raise


def flag_names(verb: type) -> list[str]:
    """Every ``--flag`` that the fields of a dataclass, and of the dataclasses in it, make."""
    hints = get_type_hints(verb, include_extras=True)
    names = []
    for field in fields(verb):
        hint, *marks = _annotation(hints[field.name])
        if isinstance(hint, type) and is_dataclass(hint):
            names += flag_names(hint)
        elif not any(mark in _NO_FLAG for mark in marks):
            name = field.name.replace("_", "-")
            names.append(f"--{name}")
            if hint is bool:
                names.append(f"--no-{name}")
            names += [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
    return names


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
