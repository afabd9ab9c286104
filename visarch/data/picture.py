"""One image file becomes an array: all that is particular to Pillow and to file formats."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.Image import Resampling, Transpose

from visarch.data.files import File

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff".split()  # noqa: SIM905
)
# Pillow goes by content, not by suffix. Naming the formats keeps a file that merely claims to be an
# image away from decoders that would run programs on it (EPS) or reach for other files.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF")

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")

TRANSPARENT = "transparent parts, which are laid on white"
CUT = "16 bits in each color, of which the upper 8 are used"
ANIMATED = "several frames or pages, of which the first is used"

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_COMPRESSION, _COLORS, _SUBSAMPLING = 259, 262, 530
"""Tags of TIFF."""
_reading = threading.local()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs, it raises as well


class UnreadableImage(ValueError):
    """A file that holds no usable image; the message says why, in words that follow its name."""


@dataclass(frozen=True)
class Picture:
    """An image file's content at the size that was asked for."""

    values: np.ndarray
    """(C, H, W); C is 1 where the picture is gray, else 3. uint8; int32 where the file has
    16 bits, float32 where it has 32."""
    size: tuple[int, ...]
    """Height and width in the file, the right way up."""
    largest: float
    """The largest value in the file."""
    notes: tuple[str, ...]
    """What a reader should know."""
    kind: str
    """Format and mode of the file, as in "PNG RGBA"."""
    is_turned: bool
    """Whether its EXIF data says that it is to be turned, as was done here."""


def read_size(file: File) -> tuple[int, ...]:
    """Height and width of an image, the right way up, from the file's header alone.

    Raises:
        UnreadableImage: the file is no image.
    """
    _reading.notes = []
    with opened(file) as image:
        return _upright_size(image)


def read_picture(source: File, size: tuple[int, ...] | None = None) -> Picture:
    """An image file, decoded fully, the right way up, filling (height, width) and center-cropped;
    without a size as large as it is.

    Raises:
        UnreadableImage: the file is no image, is damaged, or holds values that are no levels.
    """
    notes: list[str] = []
    _reading.notes = notes
    with opened(source) as file:
        upright_size = _upright_size(file)
        kind = f"{file.format} {file.mode}"
        size = size or upright_size
        if _is_animated(file):
            notes.append(ANIMATED)
        if not file.mode.startswith("I;16") and ";16" in str(getattr(file, "tile", "")):
            notes.append(CUT)  # Pillow has no mode that would hold them
        if min(file.size) >= 4 * max(size):
            # A large JPEG is decoded at a fraction of its size, while that is twice what is needed.
            file.draft(file.mode, (2 * max(size), 2 * max(size)))
        file.load()
        has_16_bits = file.mode.startswith("I;16")
        deep = has_16_bits or file.mode in ("I", "F")
        image = _deep(file) if deep else _in_bytes(file, notes)
        turn = _UPRIGHT.get(_orientation(file))
        if turn is not None:
            image = image.transpose(turn)
        values = _fill(image, size)

    values = values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
    if has_16_bits:
        values = np.rint(values).astype(np.int32)
    # A gray picture that was saved in color is gray; lossy WebP does not keep it so exactly.
    tolerance = 2 if file.format == "WEBP" else 0
    if len(values) == 3 and _is_gray(values[:, 0], tolerance) and _is_gray(values, tolerance):
        values = values[1:2]  # most color pictures were told by their first row
    largest = float(np.asarray(image).max()) if deep else 255.0
    once = tuple(dict.fromkeys(notes))
    return Picture(values, upright_size, largest, once, kind, turn is not None)


def fit(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An array (C, h, w) resized to fill (height, width), and center-cropped, plane by plane."""
    as_stored = np.uint8 if values.dtype == np.uint8 else np.float32
    planes = [_fill(Image.fromarray(plane.astype(as_stored)), size) for plane in values]
    fitted = np.stack(planes)
    return (np.rint(fitted) if values.dtype.kind in "iu" else fitted).astype(values.dtype)


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """While this lasts, what Python warns of becomes a note on the picture its thread is reading.

    Warnings belong to the whole process, so this is entered once, around all threads.
    """

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        text = re.sub(r"\d+", "…", str(message))  # one note, not one for each number
        getattr(_reading, "notes", []).append(f"a warning from Pillow: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield


@contextlib.contextmanager
def opened(file: File) -> Iterator[Image.Image]:
    """An image in Pillow's hands; whatever goes wrong meanwhile is said to be the file's fault.

    Raises:
        UnreadableImage: the file is no image, or is damaged.
    """
    head = b""
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
            stream.seek(0)
            with Image.open(stream, formats=_FORMATS) as image:
                _mend_ycbcr(image)
                yield image
    except UnreadableImage:
        raise
    except Exception as error:  # a damaged file makes decoders raise nearly anything
        raise UnreadableImage(_explain(error, head)) from error


def _mend_ycbcr(image: Image.Image) -> None:
    """Have an uncompressed TIFF in YCbCr be read as that: before version 13, Pillow takes it for
    RGBX, and finds its end too early."""
    if image.format != "TIFF" or image.mode != "RGB":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    if (tags.get(_COLORS), tags.get(_COMPRESSION), tags.get(_SUBSAMPLING)) == (6, 1, (1, 1)):
        image._mode = "YCbCr"
        image.tile = [tile._replace(args=("YCbCr", *tile.args[1:])) for tile in image.tile]  # type: ignore[attr-defined]


def _in_bytes(image: Image.Image, notes: list[str]) -> Image.Image:
    """Any 8-bit mode as L or RGB, without transparency."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            notes.append(TRANSPARENT)
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _deep(image: Image.Image) -> Image.Image:
    """A gray image of more than 8 bits in mode F, which holds them exactly and can be resized.

    Pillow's own conversion to 8 bits would cut everything above 255 off.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise UnreadableImage("holds values that are not finite numbers")
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage(
            f"has values from {values.min():g} to {values.max():g}; an image file's must lie in "
            "0 … 65535 (put such data in an .npz)"
        )
    return Image.fromarray(values.astype(np.float32))


def _fill(image: Image.Image, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    if image.size == (width, height):
        return np.array(image)
    filled = np.array(ImageOps.fit(image, (width, height), Resampling.LANCZOS))
    if image.mode == "F":  # here nothing stops the filter's overshoot; 8-bit modes saturate
        values = np.asarray(image)
        filled = filled.clip(values.min(), values.max())
    return filled


def _is_gray(values: np.ndarray, tolerance: int) -> bool:
    return np.ptp(values, axis=0).max() <= tolerance


def _upright_size(image: Image.Image) -> tuple[int, ...]:
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asking would decode the whole image
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # damaged metadata is no reason to lose the picture
        return 1


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":
        return False  # a camera's JPEG with a preview behind it
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged behind the first frame, which is all that is used
        return True


def _explain(error: Exception, head: bytes) -> str:
    """Why a file with these first bytes made Pillow raise this."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror.lower()}"
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        return f"has more than {limit:.0f} million pixels, which is refused as a likely attack"
    if not head:
        return "is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return f"is no image: {_guess(head)}"
    message = f"{error}" or type(error).__name__
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return "is truncated: the file ends before its image does"
    return f"is damaged: {message}"


def _guess(head: bytes) -> str:
    """What a file that is no image of a known format may be, from its first bytes."""
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer (fetch the file itself with `git lfs pull`)"
    if head[4:8] == b"ftyp":
        return "it holds HEIC, AVIF or video (save it as JPEG or PNG)"
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it holds a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "it holds SVG or XML (save it as PNG)"
    if all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        return "it holds text"
    if head.startswith(_BEGINNINGS):
        return "it begins like one, but is damaged or truncated"
    return "its content is of another format"
