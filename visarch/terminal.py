"""What verbs say, and how: results on stdout, whole wherever it leads; notes and progress on
stderr; nothing with --quiet, and with --json one document for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from visarch.data import Data


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a verb speaks. Its fields are flags that every verb has."""

    json: bool = False
    """Print one JSON document with all there is to tell, and nothing else on stdout: messages go to
    stderr."""
    quiet: bool = False
    """Print nothing but errors, and what --json asks for; the exit code tells the rest."""


class _Speech(NamedTuple):
    manner: Manner
    stdout: TextIO | None
    """Where the JSON document goes; None for what is stdout then."""


_AS_EVER = _Speech(Manner(), None)
_speech: ContextVar[_Speech] = ContextVar("speech", default=_AS_EVER)


@contextmanager
def speaking(manner: Manner) -> Iterator[None]:
    """Everything within is said in this manner. With --json, whatever is printed to stdout by
    anyone else than `tell` comes out on stderr; with --quiet, nowhere."""
    token = _speech.set(_Speech(manner, sys.stdout))
    try:
        with ExitStack() as stack:
            if manner.quiet:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect_stdout(nowhere))
            elif manner.json:
                stack.enter_context(redirect_stdout(sys.stderr))
            yield
    finally:
        _speech.reset(token)


def is_quiet() -> bool:
    """Whether nothing is to be said."""
    return _speech.get().manner.quiet


def tell(record: Any, parts: Iterable[str | Table]) -> None:
    """The result of a verb, which tells it once: as lines and tables, or all of it as JSON.

    Args:
        record: mappings, sequences, strings and numbers. JSON knows no NaN and no infinity: such a
            number becomes null.
        parts: what a reader sees of it; not asked for where it is not shown.
    """
    manner, stdout = _speech.get()
    if manner.json:
        stdout = stdout or sys.stdout
        narrow = not (stdout.encoding or "utf-8").lower().startswith("utf")
        text = json.dumps(_plain(record), ensure_ascii=narrow, allow_nan=False, indent=2)
        print(text, file=stdout, flush=True)
    elif not manner.quiet:
        for part in parts:
            if isinstance(part, str):
                print(part, flush=True)
            else:
                print_table(part)


def _plain(value: Any) -> Any:
    """What JSON can hold of a value."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def note(text: str) -> None:
    """Something to know beside the result."""
    if not is_quiet():
        print(text, file=sys.stderr)


def note_skipped(data: Data, most: int = 5) -> None:
    """Which files or samples of the data are not used, and why."""
    for name, why in data.skipped[:most]:
        note(f"skipped {name}: {why}")
    if len(data.skipped) > most:
        note(f"… and {len(data.skipped) - most} more")


def print_table(table: Table) -> None:
    """On a terminal as wide as it is; elsewhere as wide as the table is, nothing cut or wrapped."""
    target = console()
    if not target.is_terminal:
        limitless = target.options.update(width=10_000)
        target.width = target.measure(table, options=limitless).maximum
    target.print(table)


@contextmanager
def progress(what: str, *, silent: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal and unless silent, for as long as something takes.

    What is yielded is to be called with (done, total).
    """
    from rich.progress import Progress

    target = console(stderr=True)
    hidden = silent or is_quiet() or not target.is_terminal
    with Progress(transient=True, console=target, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def console(*, stderr: bool = False, **options: Any) -> Console:
    """Rich's handle on stdout or stderr: what moves there moves on a terminal alone, and colors are
    as `has_colors` says."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream.isatty()
    system: Any = "auto" if is_terminal else "standard"
    return Console(
        stderr=stderr,
        highlight=False,
        force_terminal=is_terminal,
        color_system=system if has_colors(stream) else None,
        **options,
    )


def has_colors(stream: TextIO) -> bool:
    """Whether what is written there is colored: on a terminal, unless NO_COLOR or FORCE_COLOR says
    otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"
