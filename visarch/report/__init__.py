"""The report of a run: one self-contained page, made from what the run folder holds.

It loads nothing from anywhere and runs no script, so it can be mailed, archived and opened offline.
What a run does not have yet is left out, and what cannot be read is said; the same folder always
makes the same page, byte for byte.
"""

from pathlib import Path

from visarch.report.page import page
from visarch.report.run import read_run
from visarch.training.atomic import replace_text

REPORT = "report.html"


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, in place of the one that is there; returns its path.

    Raises:
        UserError: it is not a run folder, or the disk is full or refuses.
    """
    run = Path(run)
    text = page(read_run(run))
    # names of files may hold bytes that are no UTF-8: they come as lone surrogates
    replace_text(run / REPORT, text.encode("utf-8", "replace").decode("utf-8"))
    return run / REPORT
