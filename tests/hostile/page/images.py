"""Files that are dropped on a page: images, and what only claims to be one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import numpy as np
from PIL import Image


def png(random: Random, side: int = 8) -> bytes:
    """A small gray image."""
    return encoded(np.frombuffer(random.randbytes(side * side), np.uint8).reshape(side, side))


def encoded(pixels: np.ndarray, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def png_of_size(width: int, height: int, *before: tuple[bytes, bytes]) -> bytes:
    """The beginning of a PNG that claims this size, with no more pixels than a row of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(width + 1))
    chunks = [(b"IHDR", header), *before, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def no_images() -> dict[str, bytes]:
    """Files that are no image, or none that could be used, by what they are."""
    whole = encoded(np.zeros((40, 40, 3), np.uint8))
    return {
        "nothing": b"",
        "words.png": b"just words",
        "cut.png": whole[: len(whole) // 2],
        "bomb.png": png_of_size(60_000, 60_000),
        "large.png": png_of_size(8000, 6000),
        "flat.png": png_of_size(2**31 - 1, 1),
        "text bomb.png": png_of_size(
            8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * 2**20), 9))
        ),
        "profile bomb.png": png_of_size(
            8, 8, (b"iCCP", b"a\0\0" + zlib.compress(bytes(80 * 2**20), 9))
        ),
        "array.npz": zipped("a.npy", bytes(1000)),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "page.html": b"<html><script>alert(1)</script></html>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(100),
        "noise.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20,
        "pickle.pkl": b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.",
    }
