"""What verbs say: results on stdout, whole wherever it leads; notes and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

    from visarch.data import Data


def print_table(table: Table) -> None:
    """On a terminal as wide as it is; elsewhere as wide as the table is, nothing cut or wrapped."""
    console = Console(highlight=False)
    if not console.is_terminal:
        limitless = console.options.update(width=10_000)
        console.width = console.measure(table, options=limitless).maximum
    console.print(table)


def note(text: str) -> None:
    """Something to know beside the result."""
    print(text, file=sys.stderr)


def note_skipped(data: Data, most: int = 5) -> None:
    """Which files or samples of the data are not used, and why."""
    for name, why in data.skipped[:most]:
        note(f"skipped {name}: {why}")
    if len(data.skipped) > most:
        note(f"… and {len(data.skipped) - most} more")


@contextmanager
def progress(what: str, *, silent: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal and unless silent, for as long as something takes.

    What is yielded is to be called with (done, total).
    """
    console = Console(stderr=True)
    hidden = silent or not console.is_terminal
    with Progress(transient=True, console=console, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
