"""Files that are never half written: written to the side, synced, renamed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from visarch.errors import UserError


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place; all of it or nothing.

    After a crash at any moment, `path` holds the old content or the new one; what was being written
    is left beside it under a hidden name, for `remove_leftovers`.

    Raises:
        UserError: the disk is full or refuses; the old file is intact.
    """
    side = side_of(path)
    with writing(path):
        try:
            write(side)
            _move(side, path)
        except BaseException:
            side.unlink(missing_ok=True)
            raise


def replace_files(folder: Path, write: Callable[[Path], object], *, last: str) -> None:
    """Let `write` fill a folder beside `folder`, then put each file in its place, `last` last.

    Raises:
        UserError: the disk is full or refuses; the old files are intact.
    """
    side = side_of(folder)
    shutil.rmtree(side, ignore_errors=True)
    try:
        with writing(folder):
            write(side)
            folder.mkdir(exist_ok=True)
            for file in sorted(side.iterdir(), key=lambda file: file.name == last):
                _move(file, folder / file.name)
    finally:
        shutil.rmtree(side, ignore_errors=True)


def side_of(path: Path) -> Path:
    """Where this process writes what is to become `path`; another has a place of its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def replace_text(path: Path, text: str) -> None:
    """`replace_file` for a text file."""
    replace_file(path, lambda side: side.write_text(text, encoding="utf-8"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what the disk refuses in a paragraph, and leave other errors alone.

    Raises:
        UserError: the disk is full or refuses.
    """
    try:
        yield
    except Exception as error:
        # safetensors wraps the system's error in one of its own
        if isinstance(error, OSError) or "I/O error" in str(error):
            kept = "; what it held before is intact" if path.exists() else ""
            raise UserError(
                f"{path} could not be written ({error}){kept}. Free some space or choose another "
                "place, then go on with the same command."
            ) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what a crash left half written in a folder that nobody else writes to."""
    for pattern in (".*.partial", ".tmp*"):  # safetensors writes to .tmp… before it renames
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _move(side: Path, path: Path) -> None:
    # readable to whom the folder is: safetensors makes files that one user alone can read
    side.chmod(path.parent.stat().st_mode & 0o666)
    _sync(side)
    os.replace(side, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold what was written: a file's content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
