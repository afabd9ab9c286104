"""Images that a CSV file lists, with labels, splits and context vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from unicodedata import normalize

from visarch.data.found import Found, Sample, some, split_counts
from visarch.data.layout import arrange
from visarch.data.picture import SUFFIXES
from visarch.data.sheet import Row, Sheet, read_sheet
from visarch.errors import UserError

NAMES = ("labels.csv", "metadata.csv")
"""What a CSV is called that a folder of images is read by."""


def find_csv(path: Path, images: Mapping[str, Path] | None = None) -> Found:
    """The images that a CSV file lists, by their paths relative to it.

    What it says is all that counts: sub-folders name no classes here. They do name splits, where it
    has no column for them.

    Args:
        path: the CSV file.
        images: the images there are; by default those in the folders of the images it lists.

    Raises:
        UserError: it is no table of images, or none of its images is there.
    """
    sheet = read_sheet(path)
    folder = path.parent
    rows = _by_file(sheet, folder)
    if images is None:
        images = _beside(rows, folder)
    # Accents are often spelt otherwise in a table than by the file system it describes.
    spelt = {normalize("NFC", name): name for name in images}
    rows = {
        name if name in images else spelt.get(normalize("NFC", name), name): row
        for name, row in rows.items()
    }
    there = {name for name in rows if name in images or (folder / name).is_file()}
    if rows and not there:
        raise UserError(_none_there(path, rows))

    found = Found("csv", [], by_value=True, vector_names=sheet.vector_names, reasons=sheet.reasons)
    found.errors = [f"{path.name}: {error}" for error in sheet.errors]
    labelled = any(row.label is not None for row in rows.values())
    found.why_classes = (
        f"by the column label of {path.name}" if labelled else f"{path.name} gives no labels"
    )
    splits = {name: rows[name].split for name in rows if name in there}
    if not any(splits.values()):
        layout = arrange(sorted(splits))
        found.reasons += [reason for reason in layout.reasons if reason[0] == "split"]
        found.left_out += layout.left_out.items()
        splits = layout.splits or {name: "" for name in splits if name not in layout.left_out}
    elif "train" not in splits.values():
        found.errors.append(f"{path.name}: no image is in the split train")
    else:
        counts = split_counts(splits.values())
        found.reasons.append(("split", counts, f"by the column split of {path.name}"))
    found.samples = [
        Sample(name, images.get(name, folder / name), split, rows[name].label, rows[name].vector)
        for name, split in splits.items()
    ]
    found.skipped += [
        (name, f"is listed in line {row.line} of {path.name}, but not there")
        for name, row in rows.items()
        if name not in there
    ]
    unlisted = [name for name in images if name not in rows]
    found.left_out += [(name, f"is not listed in {path.name}") for name in unlisted]
    if unlisted:
        why = f"images that {path.name} does not list are left out"
        found.reasons.append(("not listed", f"{len(unlisted)}: {some(unlisted)}", why))
    return found


def _by_file(sheet: Sheet, folder: Path) -> dict[str, Row]:
    """The rows by the path of their image, each image once."""
    rows: dict[str, Row] = {}
    repeated = []
    for row in sheet.rows:
        path = row.file
        if "\\" in path and not (folder / path).exists():
            path = path.replace("\\", "/")
        name = os.path.normpath(path)
        if os.path.isabs(name) and Path(name).is_relative_to(folder.absolute()):
            name = str(Path(name).relative_to(folder.absolute()))
        name = Path(name).as_posix()
        other = rows.setdefault(name, row)
        if other is row:
            continue
        said, before = (row.label, row.split, row.vector), (other.label, other.split, other.vector)
        if said == before:
            repeated.append(name)
        else:
            sheet.errors.append(
                f"{name} is {_says(other)} in line {other.line} and {_says(row)} in line {row.line}"
            )
    if repeated:
        sheet.reasons.append(("listed twice", some(repeated), "with the same words; used once"))
    return rows


def _says(row: Row) -> str:
    vector = ", ".join(f"{value:g}" for value in row.vector or ())
    return " · ".join(filter(None, [row.label, row.split, vector])) or "without a label"


def _beside(rows: Mapping[str, Row], folder: Path) -> dict[str, Path]:
    """All images in the folders that listed images lie in, by their paths relative to `folder`."""
    images = {}
    for home in sorted({name.rpartition("/")[0] for name in rows}):
        place = folder / home if home else folder
        if not place.is_dir():
            continue
        for entry in os.scandir(place):
            name = f"{home}/{entry.name}" if home else entry.name
            listed = name in rows
            shown = Path(name).suffix.lower() in SUFFIXES and not entry.name.startswith(".")
            if (listed or shown) and entry.is_file():
                images[name] = Path(entry.path)
    return dict(sorted(images.items()))


def _none_there(path: Path, rows: Mapping[str, Row]) -> str:
    first = next(iter(rows))
    text = (
        f"None of the {len(rows)} images listed in {path} is there; the first would be "
        f"{path.parent / first}."
    )
    home, stem = (path.parent / first).parent, Path(first).name
    if home.is_dir():
        near = sorted(entry.name for entry in os.scandir(home) if Path(entry.name).stem == stem)
        if near:
            return f"{text} There is {near[0]!r}: write the names with their suffixes."
    return f"{text} Paths are relative to the folder of the CSV."
