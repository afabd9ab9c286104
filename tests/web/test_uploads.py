"""Whatever is dropped on the page becomes an image, or a sentence that says why not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.data import load_images
from visarch.errors import UserError
from visarch.run import Run, load_run
from visarch.web.uploads import read_upload


@pytest.fixture(scope="module")
def run(runs) -> Run:
    return load_run(str(runs.vae), "cpu")


def upload(run: Run, folder: Path, content: bytes) -> str:
    """What is said of a file with this content."""
    file = folder / "upload.png"
    file.write_bytes(content)
    return read_upload(str(file), run)[1]


def encoded(pixels: np.ndarray, kind: str = "PNG", **more) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims this size, with no more pixels than a row of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(width + 1))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_an_image_is_prepared_as_the_verbs_prepare_it(run: Run, tmp_path: Path):
    file = tmp_path / "a.jpg"
    file.write_bytes(encoded(PIXELS, "JPEG"))
    split, noted = read_upload(str(file), run)
    assert split.images.equal(load_images([file], run.preparation).images)
    assert noted == ""


def test_frames_beyond_the_first_are_told_of(run: Run, tmp_path: Path):
    frames = [Image.fromarray(255 - PIXELS)]
    film = encoded(PIXELS, "GIF", save_all=True, append_images=frames)
    assert "several frames" in upload(run, tmp_path, film)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"just words", "it holds text"),
        (b"<html></html>", "it holds a web page"),
        (encoded(PIXELS)[:300], "truncated"),
        (png_of_size(8000, 6000), "6000×8000 pixels"),
        (png_of_size(60_000, 60_000), "likely attack"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it holds text"),
    ],
)
def test_what_is_no_use_is_declined(run: Run, tmp_path: Path, content: bytes, said: str):
    with pytest.raises(UserError, match=said) as refused:
        upload(run, tmp_path, content)
    assert str(tmp_path) not in str(refused.value)


def test_nothing_is_asked_for(run: Run):
    with pytest.raises(UserError, match="no image yet"):
        read_upload(None, run)


def test_what_is_kept_no_longer_is_told_of(run: Run, tmp_path: Path):
    for name in ("gone.png", "x" * 1000):
        with pytest.raises(UserError, match="kept no longer: put it there again"):
            read_upload(str(tmp_path / name), run)
