"""The page's temporary files, which are never more than a machine has room for."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

MOST_BYTES, MOST_FILES = 2**30, 10_000
KEPT = 3600.0
"""Seconds that a file is kept at most."""
_YOUNG = 60
"""Seconds: a folder that is empty may be about to be filled."""
_ANOTHERS = "torchinductor"
"""How a folder begins that PyTorch keeps compiled kernels in."""


class _File(NamedTuple):
    changed: float
    size: int
    path: str


def clear(folder: Path, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
    """Remove files that have been kept long enough, and the oldest ones as long as there are too
    many of them, or too large ones."""
    now, files = time.time(), []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_ANOTHERS)]
        for name in names:
            with contextlib.suppress(OSError):  # it has gone meanwhile
                path = os.path.join(place, name)
                about = os.stat(path, follow_symlinks=False)
                files.append(_File(about.st_mtime, about.st_size, path))
        if not folders and not names and place != str(folder):
            with contextlib.suppress(OSError):
                if now - os.stat(place).st_mtime > _YOUNG:
                    os.rmdir(place)
    size = 0
    for number, file in enumerate(sorted(files, reverse=True)):
        size += file.size
        if size > most_bytes or number >= most_files or now - file.changed > KEPT:
            with contextlib.suppress(OSError):
                os.unlink(file.path)
