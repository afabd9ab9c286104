"""How much of the memory and the disk images may take: what is larger is decoded when it is read,
or streamed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from visarch.errors import UserError

_MEMORY, _DISK = "VISARCH_DATA_MEMORY", "VISARCH_DATA_DISK"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class DoesNotFit(Exception):
    """Images that would need more memory than they may take."""


def memory_limit() -> int:
    """Bytes that may be taken while images are read: half of what is free.

    Processes that share a machine share it equally. The variable VISARCH_DATA_MEMORY, as in 8G or
    500M, decides instead for each process.

    Raises:
        UserError: the variable is no size.
    """
    asked = _asked(_MEMORY)
    if asked is not None:
        return asked
    sharing = max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    return psutil.virtual_memory().available // (2 * sharing)


def disk_limit(place: Path) -> int:
    """Bytes that may be written where `place` is or would be: nine tenths of what is free there.

    The variable VISARCH_DATA_DISK decides instead.

    Raises:
        UserError: the variable is no size.
    """
    asked = _asked(_DISK)
    if asked is not None:
        return asked
    there = next(parent for parent in [place, *place.absolute().parents] if parent.exists())
    return shutil.disk_usage(there).free * 9 // 10


def _asked(variable: str) -> int | None:
    """The size that an environment variable asks for."""
    asked = os.environ.get(variable)
    if asked is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", asked.strip().upper())
    if match is None:
        raise UserError(f"{variable} is {asked!r}; give a size, as in 8G or 500M.")
    return int(float(match[1]) * _UNITS[match[2]])


def require_memory(needed: int) -> None:
    """Go on only if that many bytes may be taken.

    Raises:
        DoesNotFit: they may not.
    """
    limit = memory_limit()
    if needed > limit:
        text = f"{gibibytes(needed)} would be needed, and {gibibytes(limit)} may be taken"
        raise DoesNotFit(text)


def gibibytes(count: int) -> str:
    """A number of bytes as it is printed."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
