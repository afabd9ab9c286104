"""A folder of image files, good, bad and damaged, of which it is known what should become."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.ExifTags import Base

Random = np.random.Generator


class Fate(Enum):
    """What should become of a file."""

    USED = "used"
    NAMED = "named with the reason why it cannot be used"
    EITHER = "used or named"


Case = tuple[str, str, bytes, Fate]
"""(what it is, suffix, content, what should become of it)"""

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("L", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
}
"""What Pillow can write in each format."""
SUFFIXES = {
    "PNG": (".png", ".PNG", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".JPG", ".Jpeg", ".jpe", ".jfif"),
    "GIF": (".gif", ".GIF"),
    "BMP": (".bmp", ".dib", ".BMP"),
    "WEBP": (".webp", ".WebP"),
    "TIFF": (".tif", ".tiff", ".TIF"),
}
ALL_SUFFIXES = [suffix for own in SUFFIXES.values() for suffix in own]
SIZES = [(1, 1), (1, 7), (9, 1), (2, 3), (8, 8), (16, 16), (16, 16), (16, 16), (31, 17), (64, 48)]
COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]

NAMES = [
    *("plain", "with space", "-dash", "--help", "quote'\"", "%s{}$HOME", "back\\slash", "a;b|c&d"),
    *("é", "e\u0301", "日本語", "\U0001f600", "\u202eltr", "new\nline", "tab\t", "\x1b[31mred"),
    *("\udcff\udcfe", "x" * 200, "CON", "dot.", "two.dots", "#hash", "*star", "[brackets]"),
]


def picture(random: Random, mode: str, size: tuple[int, int]) -> Image.Image:
    """A picture of no two equal rows, in any mode that Pillow has."""
    width, height = size
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(pixels[..., 0].astype(np.int32))
    if mode == "F":
        return Image.fromarray(pixels[..., 0].astype(np.float32))
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def good(random: Random) -> Case:
    """A whole image file of any format, mode and size, its suffix now and then a lie."""
    kind = str(random.choice(list(MODES)))
    mode = str(random.choice(MODES[kind]))
    image = picture(random, mode, SIZES[random.integers(len(SIZES))])
    options: dict[str, object] = {}
    what = f"{kind} {mode}"
    if kind == "TIFF" and mode not in ("F", "I"):
        options["compression"] = COMPRESSIONS[random.integers(len(COMPRESSIONS))]
    if kind == "JPEG":
        options |= {"quality": int(random.integers(1, 96)), "progressive": random.random() < 0.3}
    if mode == "P" and kind in ("PNG", "GIF"):
        options["transparency"] = int(random.integers(256))
        what += ", transparent"
    if kind in ("JPEG", "PNG", "WEBP", "TIFF") and random.random() < 0.3:
        exif = Image.Exif()
        # 1 to 8 mean something, and libtiff writes nothing else
        exif[Base.Orientation] = int(random.integers(*((1, 9) if kind == "TIFF" else (0, 11))))
        options["exif"] = exif
        what += ", EXIF"
    if kind in ("GIF", "WEBP", "TIFF", "PNG") and mode in ("L", "RGB") and random.random() < 0.3:
        frames = [picture(random, mode, image.size) for _ in range(2)]
        options |= {"save_all": True, "append_images": frames}
        what += ", several frames"
    suffixes = SUFFIXES[kind]
    if random.random() < 0.15:
        suffixes = ALL_SUFFIXES
        what += ", suffix at random"
    return what, str(random.choice(suffixes)), encoded(image, kind, **options), Fate.USED


def truncated(random: Random) -> Case:
    """A file of which at least a third is missing."""
    what, suffix, content, _ = good(random)
    end = int(len(content) * random.uniform(0, 0.66))
    fate = Fate.NAMED if what.startswith(("PNG", "JPEG")) and end < 60 else Fate.EITHER
    return f"{what}, truncated", suffix, content[:end], fate


def damaged(random: Random) -> Case:
    """A file in which bytes are others, are missing, or are too many."""
    what, suffix, content, _ = good(random)
    altered = bytearray(content)
    for _ in range(int(random.integers(1, 20))):
        place = int(random.integers(len(altered)))
        how = random.integers(3)
        if how == 0:
            altered[place] ^= 1 << int(random.integers(8))
        elif how == 1 and len(altered) > 50:
            del altered[place : place + int(random.integers(1, 9))]
        else:
            altered[place:place] = random.bytes(int(random.integers(1, 9)))
    return f"{what}, damaged", suffix, bytes(altered), Fate.EITHER


def no_image(random: Random) -> Case:
    """Something else that is called like an image."""
    other: dict[str, bytes] = {
        "empty": b"",
        "zeros": bytes(int(random.integers(1, 5000))),
        "random bytes": b"\x00" + random.bytes(int(random.integers(1, 5000))),
        "text": b"I am no picture\n" * 5,
        "web page": b"<!DOCTYPE html><html>404</html>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "zip": b"PK\x03\x04" + random.bytes(50),
        "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07content\x94.",
        "bomb": bomb(60_000, 60_000),
        "tall bomb": bomb(1, 2**31 - 1),
        "header alone": bomb(8, 8)[:33],
        "endless TIFF": b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 1) + b"\x00" * 12 + b"\x08",
    }
    what = str(random.choice(list(other)))
    return what, str(random.choice(ALL_SUFFIXES)), other[what], Fate.NAMED


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is so large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\x00" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


MAKERS: tuple[Callable[[Random], Case], ...] = (good, good, good, truncated, damaged, no_image)


def write_corpus(root: Path, count: int, seed: int = 0) -> dict[str, tuple[str, Fate]]:
    """Fill a folder with so many files in two classes, beside what is no file at all.

    Returns:
        What each of the files is that are called like images, and what should become of it, by its
        name in messages.
    """
    random = np.random.default_rng(seed)
    told: dict[str, tuple[str, Fate]] = {}
    for folder in ("cat", "dog"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        what, suffix, content, fate = MAKERS[number % len(MAKERS)](random)
        folder = ("cat", "dog")[number // len(MAKERS) % 2]
        stem = NAMES[number // len(MAKERS) % len(NAMES)]
        path = root / folder / f"{stem}{number}{suffix}"
        path.write_bytes(content)
        told[spelled(path.relative_to(root))] = (what, fate)
    for path, what, fate in _oddities(root):
        told[spelled(path.relative_to(root))] = (what, fate)
    return told


def _oddities(root: Path) -> Iterator[tuple[Path, str, Fate]]:
    """What else can lie in a folder: (path, what it is, what should become of it)."""
    here = root / "cat"
    wide = Image.fromarray(np.arange(20_000, dtype=np.uint16).astype(np.uint8)[None])
    for name, image in (("wide", wide), ("tall", wide.transpose(Image.Transpose.ROTATE_90))):
        image.save(here / f"{name}.png")
        yield here / f"{name}.png", "20,000×1", Fate.USED
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 10_000_000, zip=True)
    wide.crop((0, 0, 9, 1)).save(here / "text bomb.png", pnginfo=text)
    yield here / "text bomb.png", "a text chunk of 10 MB", Fate.EITHER
    (here / "link.png").symlink_to("wide.png")
    yield here / "link.png", "a link to an image", Fate.USED
    (here / "broken.png").symlink_to("gone.png")
    yield here / "broken.png", "a broken link", Fate.NAMED
    (here / "itself.png").symlink_to("itself.png")
    yield here / "itself.png", "a link to itself", Fate.NAMED
    (here / "folder.png").mkdir()  # an empty folder is none of the images
    (here / "loop").symlink_to(root, target_is_directory=True)
    yield here / "loop", "a link to a folder above", Fate.NAMED
    os.mkfifo(here / "pipe.png")
    yield here / "pipe.png", "a pipe", Fate.NAMED
    with socket.socket(socket.AF_UNIX) as server, _short(here) as short:
        server.bind(f"{short}/socket.png")
    yield here / "socket.png", "a socket", Fate.NAMED
    (here / "closed.png").write_bytes(encoded(wide, "PNG"))
    (here / "closed.png").chmod(0)
    yield here / "closed.png", "without permission", Fate.USED if os.getuid() == 0 else Fate.NAMED
    (root / "notes.txt").write_text("beside")
    (root / ".hidden.png").write_bytes(b"")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._x.png").write_bytes(b"\x00")


class _short:
    """A short name for a folder, as a socket's address must have."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def spelled(path: Path) -> str:
    """A path as messages have it."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")


def state(root: Path) -> dict[str, tuple[int, int, str]]:
    """All that could change in a folder, but for the times at which files were read."""
    found = {}
    for path in [root, *root.rglob("*")]:
        about = path.lstat()
        content = ""
        if stat.S_ISLNK(about.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(about.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[os.fsdecode(path)] = (about.st_mtime_ns, about.st_mode, content)
    return found
