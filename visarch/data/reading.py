"""Many image files at once: in threads, at one size, chosen from the files if none is given."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median_low
from typing import TypeVar

from visarch.data.files import File
from visarch.data.memory import require_memory
from visarch.data.picture import (
    Picture,
    UnreadableImage,
    read_picture,
    read_size,
    warnings_as_notes,
)
from visarch.data.preparation import times
from visarch.data.splitting import spread

LARGEST_KEPT = 256
"""A size that nearly all images have is kept up to this side."""
LARGEST_CHOSEN = 64
"""Other images are brought to a square of at most this side, unless a size is asked for."""
_LOOKED_AT = 500
_TOGETHER = 64

Progress = Callable[[int, int], None]
Size = tuple[int, ...]
Result = TypeVar("Result")


def read_pictures(
    files: Mapping[str, File], size: Size | None = None, progress: Progress | None = None
) -> tuple[dict[str, Picture], dict[str, str]]:
    """The files that are images, at `size` (height, width), and why the others are not.

    Without a size, `choose_size` decides by the images that can be read. `progress` is called with
    (files done, files there are).

    Raises:
        DoesNotFit: the pictures would need more memory than they may take.
    """
    if size is not None:
        require_memory(_needed(files, size))
        return decode(files, size, progress)
    names = list(files)
    some = [names[position] for position in spread(len(names), _LOOKED_AT)]
    expected, _ = read_sizes({name: files[name] for name in some})  # nearly always enough
    while True:
        size = choose_size(list(expected.values()))[0] if expected else (LARGEST_CHOSEN,) * 2
        require_memory(_needed(files, size))
        pictures, failed = decode(files, size, progress)
        # Only what could be read has a say: without the damaged files it may be another size.
        expected = {name: picture.size for name, picture in pictures.items()}
        if not expected or choose_size(list(expected.values()))[0] == size:
            return pictures, failed


def decode(
    files: Mapping[str, File], size: Size, progress: Progress | None = None
) -> tuple[dict[str, Picture], dict[str, str]]:
    """As `read_pictures`, whatever memory it takes."""
    with warnings_as_notes():
        return _partition(in_threads(lambda file: read_picture(file, size), files, progress))


def read_sizes(
    files: Mapping[str, File], progress: Progress | None = None
) -> tuple[dict[str, Size], dict[str, str]]:
    """Height and width of the files that begin as images do, and why the others are none."""
    with warnings_as_notes():
        return _partition(in_threads(read_size, files, progress))


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


def _needed(files: Mapping[str, File], size: Size) -> int:
    """Bytes for these files in color, which are held twice: as pictures and as one tensor."""
    return 2 * 3 * len(files) * size[0] * size[1]


def in_threads(
    read: Callable[[File], Result], files: Mapping[str, File], progress: Progress | None = None
) -> Iterator[tuple[str, Result | UnreadableImage]]:
    """What `read` returns or raises for each file, in the order of the files."""

    def attempt(file: File) -> Result | UnreadableImage:
        try:
            return read(file)
        except UnreadableImage as error:
            return error

    def attempt_all(some: list[File]) -> list[Result | UnreadableImage]:
        return [attempt(file) for file in some]

    threads = min(8, os.cpu_count() or 1)
    # Handing one small image to a thread takes nearly as long as decoding it.
    together = min(_TOGETHER, max(1, len(files) // (4 * threads)))
    every = list(files.values())
    pieces = [every[start : start + together] for start in range(0, len(every), together)]
    pool = ThreadPoolExecutor(threads)
    try:
        results = itertools.chain.from_iterable(pool.map(attempt_all, pieces))
        for done, item in enumerate(zip(files, results, strict=True), 1):
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
