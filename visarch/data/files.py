"""What an encoded image is read from: a file of its own, or a cell of a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO


class Cell:
    """An encoded image in a column of a table: its bytes, or {"bytes": …, "path": …}."""

    __slots__ = ("column", "folder", "row")

    def __init__(self, column: Sequence[Any], row: int, folder: Path) -> None:
        self.column = column
        self.row = row
        self.folder = folder
        """What a path in the table is relative to."""

    def open(self, mode: str) -> BinaryIO:
        """A stream of the bytes, as `Path.open` gives one."""
        value = self.column[self.row].as_py()
        if isinstance(value, Mapping):
            if value["bytes"] is None and value["path"] is not None:
                return open(self.folder / value["path"], "rb")
            value = value["bytes"]
        return io.BytesIO(value or b"")


File = Path | Cell


def size_in_bytes(file: File) -> int:
    """How many bytes the encoded image has; −1 where its file is gone."""
    if isinstance(file, Cell):
        value = file.column[file.row]
        if value.type.num_fields:
            value = value["bytes"]
        return value.as_buffer().size if value.is_valid else -1
    try:
        return file.stat().st_size
    except OSError:
        return -1
