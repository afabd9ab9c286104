"""Many image files at once: in threads, at one size, chosen from the files if none is given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from typing import TypeVar

import psutil  # type: ignore[import-untyped]

from visarch.data.picture import (
    Picture,
    UnreadableImage,
    read_picture,
    read_size,
    warnings_as_notes,
)
from visarch.data.preparation import times
from visarch.errors import UserError

LARGEST_KEPT = 256
"""A size that nearly all images have is kept up to this side."""
LARGEST_CHOSEN = 64
"""Other images are brought to a square of at most this side, unless a size is asked for."""

Progress = Callable[[int, int], None]
Size = tuple[int, ...]
Result = TypeVar("Result")


def read_pictures(
    files: Mapping[str, Path], size: Size | None = None, progress: Progress | None = None
) -> tuple[dict[str, Picture], dict[str, str]]:
    """The files that are images, at `size` (height, width), and why the others are not.

    Without a size, `choose_size` decides by the images that can be read. `progress` is called with
    (files done, files there are).

    Raises:
        UserError: the pictures would not fit into memory.
    """
    with warnings_as_notes():
        if size is not None:
            return _read(files, size, progress)
        headers, failed = _partition(_in_threads(read_size, files))
        while headers:
            size, _ = choose_size(list(headers.values()))
            pictures, damaged = _read({name: files[name] for name in headers}, size, progress)
            failed |= damaged
            headers = {name: picture.size for name, picture in pictures.items()}
            # Only what could be read has a say: without the damaged files it may be another size.
            if headers and choose_size(list(headers.values()))[0] == size:
                return pictures, failed
        return {}, failed


def choose_size(sizes: Sequence[Size]) -> tuple[Size, str]:
    """Height and width that images of these sizes are brought to, and why.

    The size of three quarters of the images or more is kept, up to a side of 256. Otherwise they
    become squares, as large as their short sides mostly are, in steps of 8 from 8 to 64.
    """
    counts = Counter(sizes)
    (height, width), count = max(counts.items(), key=lambda item: (item[1], item[0]))
    if 4 * count >= 3 * len(sizes) and max(height, width) <= LARGEST_KEPT:
        if count == len(sizes):
            return (height, width), "all images have this size"
        return (height, width), (
            f"{count} of {len(sizes)} images have this size; the others are resized to fill it and "
            "center-cropped"
        )
    short = median_low(min(size) for size in sizes)
    side = min(max(short // 8 * 8, 8), LARGEST_CHOSEN)
    by_area = sorted(counts, key=lambda size: (size[0] * size[1], size))
    smallest, largest = times(by_area[0]), times(by_area[-1])
    have = f"sizes run from {smallest} to {largest}" if len(counts) > 1 else f"all are {largest}"
    why = f"{have}; resized to fill it and center-cropped"
    if short > LARGEST_CHOSEN:
        why += " (--image-size 128 keeps more detail and takes about four times as long)"
    return (side, side), why


def _read(
    files: Mapping[str, Path], size: Size, progress: Progress | None
) -> tuple[dict[str, Picture], dict[str, str]]:
    _require_memory(len(files), size)
    return _partition(_in_threads(lambda path: read_picture(path, size), files, progress))


def _in_threads(
    read: Callable[[Path], Result], files: Mapping[str, Path], progress: Progress | None = None
) -> Iterator[tuple[str, Result | UnreadableImage]]:
    """What `read` returns or raises for each file, in the order of the files."""

    def attempt(path: Path) -> Result | UnreadableImage:
        try:
            return read(path)
        except UnreadableImage as error:
            return error

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for done, item in enumerate(zip(files, pool.map(attempt, files.values()), strict=True), 1):
            if progress is not None:
                progress(done, len(files))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # at an interrupt, not only after the last file


def _partition(
    results: Iterator[tuple[str, Result | UnreadableImage]],
) -> tuple[dict[str, Result], dict[str, str]]:
    read: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for name, result in results:
        if isinstance(result, UnreadableImage):
            failed[name] = str(result)
        else:
            read[name] = result
    return read, failed


def _require_memory(count: int, size: Size) -> None:
    """Stop before the machine does: pictures are held twice, as read and as one tensor."""
    needed = 2 * 3 * count * size[0] * size[1]
    available = psutil.virtual_memory().available
    if needed > available:
        raise UserError(
            f"{count} images of {times(size)} need {needed / 2**30:.1f} GiB of memory while "
            f"they are read; {available / 2**30:.1f} GiB are free. Give a smaller --image-size "
            f"than {max(size)}, or fewer images."
        )
