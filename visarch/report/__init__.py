"""The report of a run: one self-contained page, made from what the run folder holds.

It loads nothing from anywhere and runs no script, so it can be mailed, archived and opened offline.
What a run does not have yet is left out, and what cannot be read is said; the same folder always
makes the same page, byte for byte.
"""

from collections.abc import Sequence
from pathlib import Path

from visarch.report.comparison import comparison
from visarch.report.page import page
from visarch.report.run import Run, read_run
from visarch.training.atomic import replace_text

REPORT = "report.html"


def write_report(run: Path, path: Path | None = None) -> Path:
    """Write the report of a run folder, in place of the one that is there; returns its path, which
    is `report.html` in the folder by default.

    Raises:
        UserError: it is not a run folder, or the disk is full or refuses.
    """
    run = Path(run)
    return _write(path or run / REPORT, page(read_run(run)))


def write_comparison(runs: Sequence[Run], path: Path, unreadable: Sequence[str] = ()) -> Path:
    """Write a page that puts runs side by side, in place of one that is there; returns its path.

    Args:
        runs: from `read_run`; those of different tasks are in sections of their own.
        path: the page.
        unreadable: what could not be read at all, to be said at the top.

    Raises:
        UserError: the disk is full or refuses.
    """
    return _write(path, comparison(runs, unreadable))


def _write(path: Path, text: str) -> Path:
    # names of files may hold bytes that are no UTF-8: they come as lone surrogates
    replace_text(path, text.encode("utf-8", "replace").decode("utf-8"))
    return path
