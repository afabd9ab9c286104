"""A table in a CSV file: which images there are, and what is said of each.

    file,label            file,label,split       file,age,dose           file_name,label,age
    cat/1.png,cat         1.png,cat,train        1.png,34,0.5            1.png,cat,34

Columns are known by their names: one for the file, at most one each for the label and the split;
any other column of numbers is a part of the context vector.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visarch.data.found import Reason, some
from visarch.data.layout import SPLITS
from visarch.data.picture import SUFFIXES
from visarch.errors import UserError

FILE = ("file", "file_name", "filename", "path", "image")
LABEL = ("label", "class")
SPLIT = ("split",)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Row:
    """What one row says of its image."""

    line: int
    """Where it ends in the file, counted from 1."""
    file: str
    label: str | None
    split: str
    vector: tuple[float, ...] | None


@dataclass
class Sheet:
    """The rows of a CSV file, and an account of how they were read."""

    rows: list[Row] = field(default_factory=list)
    vector_names: tuple[str, ...] | None = None
    reasons: list[Reason] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What must be mended, each with its line."""


def read_sheet(path: Path) -> Sheet:
    """The rows of a CSV file.

    The delimiter may be a comma, semicolon, tab or bar; with a semicolon numbers may have a decimal
    comma. Without a header the first column holds the files, and the others hold a label, numbers,
    or a label followed by numbers.

    Raises:
        UserError: it is no table, or has no column of files.
    """
    sheet = Sheet()
    text = _text(path, sheet)
    delimiter, text = _delimiter(text)
    records: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise UserError(
            f"{path} is no proper CSV: line {reader.line_num}: {error}. A quotation mark inside a "
            'quoted cell is written twice (""), and a quoted cell must end.'
        ) from error
    if not records:
        raise UserError(
            f"{path} has no rows; it needs a header, as in file,label, and one for each image."
        )

    header, records = _header(path, records, sheet)
    complete = []
    for line, cells in records:
        if len(cells) >= len(header) and not any(cells[len(header) :]):
            complete.append((line, cells[: len(header)]))
        else:
            sheet.errors.append(f"line {line} has {len(cells)} cells where {len(header)} are named")
    _fill(sheet, header, complete, decimal_comma=delimiter == ";")
    return sheet


def _header(
    path: Path, records: list[tuple[int, list[str]]], sheet: Sheet
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """What the columns are called, by the first name of their kind, and the records of images."""
    first = records[0][1]
    lowered = [cell.lower() for cell in first]
    if any(cell in FILE for cell in lowered):
        header = list(first)
        for kinds in (FILE, LABEL, SPLIT):
            own = [kind for kind in kinds if kind in lowered]
            if own and lowered.count(own[0]) > 1:
                raise UserError(f"{path} has two columns called {own[0]}; there can be one.")
            if own:
                header[lowered.index(own[0])] = kinds[0]
        named = [cell for cell in header if cell]
        twice = sorted({cell for cell in named if named.count(cell) > 1})
        if twice:
            raise UserError(f"{path} has two columns called {twice[0]}; give them different names.")
        return header, records[1:]
    if Path(first[0]).suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path} has the columns {', '.join(first)}; one must be called file (or one of "
            f"{', '.join(FILE[1:])}) and hold the paths of the images, relative to the CSV."
        )
    rest = [f"v{number}" for number in range(1, len(first))]
    second = [cells[1] for _, cells in records if len(cells) > 1]
    numbers = all(_NUMBER.fullmatch(cell) for cell in second)
    whole = all(re.fullmatch(r"[+-]?\d+", cell) for cell in second)
    if rest and (not numbers or (whole and len(rest) == 1)):
        rest = ["label", *rest[:-1]]
    columns = ", ".join(["file", *rest])
    sheet.reasons.append(("columns", columns, f"{path.name} has no header; a first line decides"))
    return ["file", *rest], records


def _fill(
    sheet: Sheet, header: list[str], records: list[tuple[int, list[str]]], *, decimal_comma: bool
) -> None:
    """Make rows of cells: numbers of the columns that hold numbers."""
    columns = dict(zip(header, zip(*(cells for _, cells in records), strict=True), strict=False))
    numbers: dict[str, list[float | None]] = {}
    unused = []
    for name, cells in columns.items():
        if name in (FILE[0], LABEL[0], SPLIT[0]):
            continue
        values = [_number(cell, decimal_comma=decimal_comma) for cell in cells]
        if name and 2 * sum(value is not None for value in values) >= len(values):
            numbers[name] = values
        else:
            unused.append(name or "one without a name")
    for name, values in numbers.items():
        for (line, _), cell, value in zip(records, columns[name], values, strict=True):
            if value is None:
                sheet.errors.append(f"line {line}: {name} is {cell!r}, which is no finite number")
    sheet.vector_names = tuple(numbers) or None
    if numbers:
        why = "columns of numbers, given to the model as they are"
        sheet.reasons.append(("vector", some(list(numbers)), f"{len(numbers)} {why}"))
    if unused:
        sheet.reasons.append(("columns", some(unused), "not used: they do not hold numbers"))

    has_splits = any(columns.get(SPLIT[0], ()))
    for position, (line, _) in enumerate(records):
        file = columns[FILE[0]][position]
        split = columns[SPLIT[0]][position] if has_splits else ""
        if not file:
            sheet.errors.append(f"line {line} names no file")
        elif has_splits and split.lower() not in SPLITS:
            sheet.errors.append(
                f"line {line}: split is {split!r}; it must be train, validation or test"
            )
        else:
            label = columns[LABEL[0]][position] or None if LABEL[0] in columns else None
            vector = [values[position] for values in numbers.values()]
            if None not in vector:
                known = tuple(value for value in vector if value is not None)
                split = SPLITS.get(split.lower(), "")
                sheet.rows.append(Row(line, file, label, split, known or None))


def _number(cell: str, *, decimal_comma: bool) -> float | None:
    """The finite number in a cell, if there is one."""
    if decimal_comma:
        cell = cell.replace(",", ".")
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    return value if math.isfinite(value) else None


def _text(path: Path, sheet: Sheet) -> str:
    """The text of a file in UTF-8 or UTF-16; otherwise it was most likely written by Windows."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise UserError(f"{path} is no text; save the table as CSV.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        why = "it is not in UTF-8; save it so if accents look wrong"
        sheet.reasons.append(("encoding", f"{path.name} read as Windows-1252", why))
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> tuple[str, str]:
    """What separates the cells, and the text without a line that says so, as Excel writes it."""
    said = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)
    if said:
        return said[1], text[said.end() :]
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside_quotes: Sequence[str] = re.sub(r'"[^"]*"', "", first)
    return max(_DELIMITERS, key=lambda mark: (outside_quotes.count(mark), mark == ",")), text
