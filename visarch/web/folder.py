"""The page's temporary files, which are never more than a machine has room for."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

MOST_BYTES, MOST_FILES = 2**30, 2000
_YOUNG = 60
"""Seconds: a folder that is empty may be about to be filled."""


class _Kept(NamedTuple):
    changed: float
    size: int
    path: str


def clear(folder: Path, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
    """Remove the oldest files as long as there are too many of them, or too large ones."""
    files: list[_Kept] = []
    for place, folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it has gone meanwhile
                path = os.path.join(place, name)
                about = os.stat(path, follow_symlinks=False)
                files.append(_Kept(about.st_mtime, about.st_size, path))
        if not folders and not names:
            with contextlib.suppress(OSError):
                if time.time() - os.stat(place).st_mtime > _YOUNG and place != str(folder):
                    os.rmdir(place)
    size = 0
    for number, file in enumerate(sorted(files, reverse=True)):
        size += file.size
        if size > most_bytes or number >= most_files:
            with contextlib.suppress(OSError):
                os.unlink(file.path)
