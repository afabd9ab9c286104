"""``visarch check DATA``: what is wrong with some data, before a model is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from rich.table import Table

    from visarch.data.checking import Finding, Report

_SHOWN = 5
_CLASSES_SHOWN = 30


@dataclass(frozen=True)
class Check:
    """Decode everything in some data and report what is wrong; nothing is written.

    Exit code 0: nothing is wrong, though there may be remarks. 1: there are problems, of which
    training would lose images, stop, or be deceived. 2: there is no such data.
    """

    data: Positional[str]
    """digits, a folder of images, a .csv, .npz, .npy or .parquet file, or hf:owner/name."""

    def main(self) -> int:
        from visarch.data.checking import check
        from visarch.terminal import progress, tell

        with progress("decoding") as advance:
            report = check(self.data, advance)
        tell(report.to_dict(), _shown(report))
        return 1 if report.problems else 0


def _shown(report: Report) -> Iterator[str | Table]:
    """What a reader sees of it."""
    yield from _summary(report)
    if report.classes:
        yield _class_table(report)
    for title, findings in (("Problems", report.problems), ("Remarks", report.remarks)):
        if findings:
            yield f"\n{title}"
            for finding in findings:
                yield from _lines(finding)
    if not report.problems:
        yield "\nNothing is wrong."


def _summary(report: Report) -> list[str]:
    splits = ", ".join(f"{count} {name}" for name, count in report.splits.items() if name)
    lines = [f"{report.source}: {report.kind}, {report.count} samples" + (splits and f": {splits}")]
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    lines.append(f"kinds: {kinds}")
    sizes = [f"{count} of {size}" for size, count in report.sizes.items()]
    more = f" and {len(sizes) - _SHOWN} more sizes" if len(sizes) > _SHOWN else ""
    lines.append(f"sizes: {', '.join(sizes[:_SHOWN])}{more}")
    return lines


def _class_table(report: Report) -> Table:
    from rich.table import Table

    table = Table("class", *(split or "images" for split in report.classes))
    for column in table.columns[1:]:
        column.justify = "right"
    names = list(next(iter(report.classes.values())))
    for name in names[:_CLASSES_SHOWN]:
        table.add_row(name, *(str(counts.get(name, 0)) for counts in report.classes.values()))
    if len(names) > _CLASSES_SHOWN:
        table.add_row(f"and {len(names) - _CLASSES_SHOWN} more")
    return table


def _lines(finding: Finding) -> list[str]:
    """A finding's headline, and some of the places it was found at."""
    entries = finding.entries
    lines = [f"  {finding.what}: {len(entries)} ({finding.why})"]
    lines += [f"    {' '.join(filter(None, entry))}" for entry in entries[:_SHOWN] if any(entry)]
    if len(entries) > _SHOWN:
        lines.append(f"    and {len(entries) - _SHOWN} more (--json lists all)")
    return lines
