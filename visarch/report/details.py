"""The rest of the page: data, settings, environment, and the commands that follow."""

from collections.abc import Mapping, Sequence
from typing import Any

from visarch.report.markup import Html, element, table, together
from visarch.report.run import Run
from visarch.report.settings import Setting, next_commands, reproduce, settings
from visarch.report.spelling import number, setting

_MOST_ROWS = 12
"""Rows of a table that are shown at once; the others unfold."""
_MOST_SKIPPED = 500


def data(run: Run) -> Html | None:
    """Images in each split, what was inferred and why, what was skipped and why."""
    described = run.data
    if not described:
        return None
    splits = described.get("splits") or {}
    counts = table(
        ["split", "images"],
        [[name, number(split.get("count", 0))] for name, split in splits.items()],
        numbers=range(1, 2),
    )
    reasons = [
        [entry.get("what", ""), str(entry.get("value", "")), entry.get("why", "")]
        for entry in described.get("reasons") or []
    ]
    fingerprint = element("small", f"Fingerprint of the images: {described.get('fingerprint')}")
    return together(
        element(
            "div",
            _block("Images", counts if splits else None),
            _block("Classes", _classes(splits)),
            _block("Inferred", table(["what", "value", "why"], reasons) if reasons else None),
            class_="columns",
        ),
        _skipped(described.get("skipped") or []),
        element("p", fingerprint),
    )


def setting_tables(run: Run) -> Html:
    """Settings that differ from their defaults, then all of them."""
    every = settings(run)
    differing = [one for one in every if one.differs]
    changed = table(["setting", "value", "default"], [_row(s, bold=False) for s in differing])
    whole = table(["setting", "value", "default"], [_row(s, bold=s.differs) for s in every])
    summary = element("summary", f"All {len(every)} settings")
    return together(
        changed if differing else element("p", "None differs from its default."),
        element("details", summary, whole),
    )


def environment(run: Run) -> Html | None:
    """What the run ran on, at its last start; earlier ones below."""
    if not run.starts:
        return None
    *earlier, last = run.starts
    rows = [
        ("started", str(last.get("started"))),
        ("command", element("code", str(last.get("command")))),
        ("folder", str(last.get("folder"))),
        ("commit", str(last.get("commit") or "–")),
        ("device", f"{last.get('device')}, processes: {last.get('processes')}"),
        ("processor", f"{last.get('processor')}, {last.get('cores')} cores"),
        ("platform", str(last.get("platform"))),
        ("versions", ", ".join(f"{k} {v}" for k, v in (last.get("versions") or {}).items())),
    ]
    shown = table(["", ""], [[element("span", name, class_="name"), text] for name, text in rows])
    if not earlier:
        return shown
    starts = [
        [str(start.get(key)) for key in ("started", "device", "command")] for start in earlier
    ]
    summary = element("summary", f"Earlier starts of this run: {len(earlier)}")
    return together(
        shown, element("details", summary, table(["started", "device", "command"], starts))
    )


def commands(run: Run) -> Html:
    """How to train the same again, and what to do next."""
    again, pieces = reproduce(run), []
    if again:
        folder = run.starts[0].get("folder") if run.starts else None
        where = f" (in {folder})" if folder else ""
        pieces.append(_command(again, f"train the same model again{where}"))
    pieces += [_command(command.line, command.purpose) for command in next_commands(run)]
    return together(*pieces)


def _block(title: str, *content: str | None) -> Html | None:
    """A part of a section; none if there is nothing in it."""
    if not any(content):
        return None
    return element("div", element("h3", title), *content)


def _classes(splits: Mapping[str, Any]) -> Html | None:
    """Images of each class in each split."""
    counts = {name: split["classes"] for name, split in splits.items() if split.get("classes")}
    if not counts:
        return None
    classes = list(dict.fromkeys(name for split in counts.values() for name in split))
    rows = [[name, *(number(split.get(name, 0)) for split in counts.values())] for name in classes]
    return _unfolding(
        table(["class", *counts], rows, numbers=range(1, 1 + len(counts))),
        f"{len(classes)} classes",
        len(rows),
    )


def _skipped(skipped: Sequence[Mapping[str, str]]) -> Html | None:
    """What of the data is not used, and why."""
    if not skipped:
        return None
    rows = [[entry.get("name", ""), entry.get("why", "")] for entry in skipped[:_MOST_SKIPPED]]
    rest = len(skipped) - len(rows)
    more = element("p", f"… and {rest:,} more, all of them in data.json") if rest else None
    listed = together(table(["name", "why"], rows), more)
    return _block(f"Skipped: {len(skipped):,}", _unfolding(listed, "Show them", len(rows)))


def _unfolding(content: Html, summary: str, num_rows: int) -> Html:
    """A table as it is, or behind its summary if it is long."""
    if num_rows <= _MOST_ROWS:
        return content
    return element("details", element("summary", summary), content)


def _row(of: Setting, *, bold: bool) -> list[str]:
    name = element("strong" if bold else "span", of.name, class_="name")
    return [name, setting(of.value), element("small", setting(of.default))]


def _command(line: str, purpose: str) -> Html:
    return together(element("p", element("small", purpose)), element("pre", line))
