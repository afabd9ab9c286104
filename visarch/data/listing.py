"""Which files of a folder are images, and what else lies there; nothing is opened."""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from visarch.data.picture import SUFFIXES

TABLES = (".csv", ".parquet")
READ_ALREADY = "is a link to a folder read already"


@dataclass
class Listing:
    """What was found in a folder, at any depth."""

    images: dict[str, Path] = field(default_factory=dict)
    """Files with an image's suffix, by their path relative to the folder, in sorted order."""
    folders: list[str] = field(default_factory=list)
    """The folders in it, empty ones included, by their relative path."""
    tables: dict[str, Path] = field(default_factory=dict)
    """Files with the suffix .csv or .parquet, by their relative path, in sorted order."""
    others: Counter[str] = field(default_factory=Counter)
    """How many files there are that are no images, by suffix."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """What could not be looked into, and why."""

    def describe_others(self) -> str:
        """The other files as in "3 .txt, 1 without suffix"."""
        ordered = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in ordered)


def list_images(root: Path) -> Listing:
    """Every image file below a folder.

    Hidden files and folders (and the __MACOSX folder of archives) are passed over. Links are
    followed, but no folder is read twice, so that loops end: where a folder can be reached with and
    without a link, the way without one counts.
    """
    listing = Listing()
    seen: set[tuple[int, int]] = set()
    folders = deque([root])  # links wait at the right end until all real folders are read
    while folders:
        folder = folders.popleft()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                listing.skipped.append((_name(folder, root), READ_ALREADY))
                continue
            seen.add(identity)
            if folder != root:
                listing.folders.append(_name(folder, root))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            reason = f"is a folder that cannot be read: {(error.strerror or str(error)).lower()}"
            listing.skipped.append((_name(folder, root), reason))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.appendleft(path)
            elif os.path.isdir(path):
                folders.append(path)
            elif path.suffix.lower() not in SUFFIXES:
                listing.others[path.suffix.lower()] += 1
                if path.suffix.lower() in TABLES and os.path.isfile(path):
                    listing.tables[_name(path, root)] = path
            elif os.path.isfile(path):
                listing.images[_name(path, root)] = path
            else:
                kind = "is a broken link" if entry.is_symlink() else "is no regular file"
                listing.skipped.append((_name(path, root), kind))
    listing.images = dict(sorted(listing.images.items()))
    listing.tables = dict(sorted(listing.tables.items()))
    listing.folders.sort()
    listing.skipped.sort()
    return listing


def _name(path: Path, root: Path) -> str:
    """The relative path, with / on every system, and fit for printing whatever its bytes."""
    name = path.relative_to(root).as_posix()
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
