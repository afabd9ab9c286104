import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visarch.data.picture import (
    ANIMATED,
    CUT,
    SUFFIXES,
    TRANSPARENT,
    UnreadableImage,
    fit,
    read_picture,
    read_size,
    warnings_as_notes,
)

from .pictures import noise, save

COLOR = Image.fromarray(noise())
GRAY = COLOR.convert("L")
SIZE = (12, 16)


def planes(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


LOSSLESS = [
    ("1.png", COLOR.convert("1"), COLOR.convert("1").convert("L")),
    ("l.png", GRAY, GRAY),
    ("la.png", GRAY.convert("LA"), GRAY),
    ("p.png", COLOR.quantize(17), COLOR.quantize(17).convert("RGB")),
    ("p.gif", GRAY.convert("P"), GRAY),
    ("rgb.png", COLOR, COLOR),
    ("rgb.bmp", COLOR, COLOR),
    ("gray-as-rgb.png", GRAY.convert("RGB"), GRAY),
    ("rgba.png", COLOR.convert("RGBA"), COLOR),
    ("rgba.tiff", COLOR.convert("RGBA"), COLOR),
    ("cmyk.tif", COLOR.convert("CMYK"), COLOR.convert("CMYK").convert("RGB")),
    ("ycbcr.tif", COLOR.convert("YCbCr"), COLOR.convert("YCbCr").convert("RGB")),
]


@pytest.mark.parametrize(("name", "saved", "seen"), LOSSLESS, ids=[case[0] for case in LOSSLESS])
def test_every_8_bit_mode_is_read_as_it_looks(tmp_path, name, saved, seen):
    picture = read_picture(save(tmp_path / name, saved), SIZE)
    assert picture.values.dtype == np.uint8
    np.testing.assert_array_equal(picture.values, planes(seen))
    assert picture.size == SIZE
    assert picture.notes == ()


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_in_upper_and_lower_case(tmp_path, suffix, upper):
    smooth = Image.linear_gradient("L").resize((16, 12)).convert("RGB")
    kinds = {".apng": "PNG", ".dib": "DIB", ".jfif": "JPEG", ".jpe": "JPEG"}
    path = tmp_path / f"image{suffix.upper() if upper else suffix}"
    picture = read_picture(save(path, smooth, format=kinds.get(suffix)), SIZE)
    np.testing.assert_allclose(
        picture.values.mean(0), np.asarray(smooth.convert("L")).astype(float), atol=12
    )


DEEP = [
    ("i16.png", np.arange(192, dtype=np.uint16).reshape(SIZE) * 341, np.int32),
    ("i16.tif", np.arange(192, dtype=np.uint16).reshape(SIZE) * 341, np.int32),
    ("i.tif", np.arange(192, dtype=np.int32).reshape(SIZE) * 341, np.float32),
    ("f.tif", np.arange(192, dtype=np.float32).reshape(SIZE) / 191, np.float32),
]


@pytest.mark.parametrize(("name", "values", "dtype"), DEEP, ids=[case[0] for case in DEEP])
def test_more_than_8_bits_are_kept(tmp_path, name, values, dtype):
    picture = read_picture(save(tmp_path / name, values), SIZE)
    assert picture.values.dtype == dtype
    np.testing.assert_array_equal(picture.values[0], values)
    assert picture.largest == values.max()


@pytest.mark.parametrize("color_type", [2, 4, 6])
def test_colors_of_16_bits_are_noted_as_cut(tmp_path, color_type):
    channels = {2: 3, 4: 2, 6: 4}[color_type]
    rows = (b"\0" + bytes(range(2 * channels * 2)) for _ in range(2))  # 2×2 pixels, no filter
    chunks = (
        (b"IHDR", struct.pack(">2I5B", 2, 2, 16, color_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    picture = read_picture(tmp_path / "deep.png", (2, 2))
    assert CUT in picture.notes
    assert picture.values.dtype == np.uint8


def test_colors_of_8_bits_are_not_noted_as_cut(tmp_path):
    assert read_picture(save(tmp_path / "x.png", COLOR), SIZE).notes == ()


def test_big_endian_16_bits(tmp_path):
    values = noise(channels=1).astype(np.uint16) * 257
    image = Image.frombytes("I;16B", (16, 12), values.astype(">u2").tobytes())
    picture = read_picture(save(tmp_path / "x.tif", image), SIZE)
    np.testing.assert_array_equal(picture.values[0], values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full(SIZE, -5, np.int32), "from -5 to -5"),
        (np.full(SIZE, 70000, np.int32), "from 70000 to 70000"),
        (np.full(SIZE, np.nan, np.float32), "not finite"),
        (np.full(SIZE, 1e6, np.float32), "from 1e"),
    ],
)
def test_values_that_are_no_levels_are_refused(tmp_path, values, why):
    with pytest.raises(UnreadableImage, match=why):
        read_picture(save(tmp_path / "x.tif", values), SIZE)


def test_resizing_16_bits_makes_no_new_values(tmp_path):
    values = np.zeros((40, 40), np.uint16)
    values[10:30, 10:30] = 4095
    resized = read_picture(save(tmp_path / "x.png", values), (16, 16)).values
    assert resized.dtype == np.int32
    assert (resized.min(), resized.max()) == (0, 4095)
    assert ((resized > 0) & (resized < 4095)).any()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_orientation_is_applied(tmp_path, suffix, orientation):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8], upright[:8, 24:], upright[8:, :8] = 255, 170, 85
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"x{suffix}", Image.fromarray(stored.copy()), exif=exif)
    picture = read_picture(path, (16, 32))
    assert read_size(path) == picture.size == (16, 32)
    np.testing.assert_allclose(picture.values[0].astype(int), upright, atol=20)


def test_nearly_gray_is_color(tmp_path):
    pixels = np.repeat(noise(channels=1)[..., None], 3, axis=2)
    pixels[0, 0] = (100, 101, 100)
    assert len(read_picture(save(tmp_path / "x.png", pixels), SIZE).values) == 3


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "x.jpg", GRAY, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    with warnings_as_notes():
        picture = read_picture(path, SIZE)
    assert picture.values.shape == (1, *SIZE)


TRANSPARENCY = {
    "rgba.png": Image.new("RGBA", (4, 4), (0, 0, 0, 0)),
    "la.png": Image.new("LA", (4, 4), (0, 0)),
    "rgba.webp": Image.new("RGBA", (4, 4), (0, 0, 0, 0)),
    "p.gif": Image.new("P", (4, 4), 0),
    "p.png": Image.new("P", (4, 4), 0),
    "rgb.png": Image.new("RGB", (4, 4), (0, 0, 0)),
    "l.png": Image.new("L", (4, 4), 0),
}
KEYS = {"p.gif": 0, "p.png": b"\x00\xff", "rgb.png": (0, 0, 0), "l.png": 0}


@pytest.mark.parametrize("name", TRANSPARENCY)
def test_transparency_is_laid_on_white_and_noted(tmp_path, name):
    options = {"transparency": KEYS[name]} if name in KEYS else {}
    picture = read_picture(save(tmp_path / name, TRANSPARENCY[name], **options), (4, 4))
    assert (picture.values == 255).all()
    assert picture.notes == (TRANSPARENT,)


def test_half_transparent_is_half_white(tmp_path):
    path = save(tmp_path / "x.png", Image.new("RGBA", (4, 4), (255, 0, 0, 128)))
    red, green, blue = read_picture(path, (4, 4)).values
    assert (red == 255).all()
    assert (green == 127).all()
    assert (blue == 127).all()


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_the_first_frame_counts(tmp_path, suffix):
    frames = [Image.new("L", (8, 8), shade) for shade in (50, 100, 200)]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = save(
        tmp_path / f"x{suffix}", frames[0], save_all=True, append_images=frames[1:], **options
    )
    picture = read_picture(path, (8, 8))
    assert (picture.values == 50).all()
    assert picture.notes == (ANIMATED,)


def test_a_cameras_preview_is_no_second_frame(tmp_path):
    path = save(
        tmp_path / "x.jpg", GRAY, format="MPO", save_all=True, append_images=[GRAY.resize((8, 6))]
    )
    with Image.open(path) as file:
        assert (file.format, file.is_animated) == ("MPO", True)
    assert read_picture(path, SIZE).notes == ()


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


LARGE = Image.fromarray(noise(200, 200))
BAD = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "text": (b"hello, I am no image\n" * 9, "is no image: it holds text"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "it holds a web page"),
    "svg": (b"<svg xmlns='x'></svg>", "holds SVG"),
    "heic": (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
    "random": (bytes(range(256)), "content is of another format"),
    "jpeg, half": (encoded(LARGE, "JPEG")[:9000], "is truncated"),
    "jpeg, header only": (encoded(LARGE, "JPEG")[:400], "is truncated"),
    "progressive jpeg": (encoded(LARGE, "JPEG", progressive=True)[:9000], "is truncated"),
    "png, half": (encoded(LARGE, "PNG")[:50000], "is truncated"),
    "webp, half": (encoded(LARGE, "WEBP")[:2000], "is damaged: could not create decoder"),
    "gif, half": (encoded(LARGE, "GIF")[:5000], "is truncated"),
    "bmp, half": (encoded(LARGE, "BMP")[:50000], "is truncated"),
    "tiff, half": (
        encoded(LARGE, "TIFF", compression="tiff_lzw")[:50000],
        "begins like one, but is damaged or truncated",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_explained(tmp_path, name):
    content, why = BAD[name]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with warnings_as_notes(), pytest.raises(UnreadableImage, match=why):
        read_picture(path, SIZE)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnreadableImage, match="more than 0 million pixels"):
        read_picture(save(tmp_path / "x.png"), SIZE)


def test_a_file_that_vanished_is_named(tmp_path):
    with pytest.raises(UnreadableImage, match="cannot be opened: no such file"):
        read_picture(tmp_path / "x.png", SIZE)


def test_warnings_become_notes(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # half of what is refused is warned of
    with warnings_as_notes():
        assert "exceeds limit" in read_picture(path, SIZE).notes[0]
    with pytest.raises(UnreadableImage):
        read_picture(path, SIZE)  # warnings are errors in tests, and are so again outside
    assert warnings.filters[0][0] != "always"


def test_the_suffix_may_lie(tmp_path):
    path = tmp_path / "png.jpg"
    path.write_bytes(encoded(COLOR, "PNG"))
    np.testing.assert_array_equal(read_picture(path, SIZE).values, planes(COLOR))


SIDES = st.integers(1, 40)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([np.uint8, np.int32, np.float32]))
def test_a_plain_image_of_any_size_fits_any_shape(height, width, new_height, new_width, dtype):
    values = np.full((2, height, width), 77, dtype)
    fitted = fit(values, (new_height, new_width))
    assert fitted.dtype == dtype
    assert fitted.shape == (2, new_height, new_width)
    np.testing.assert_allclose(fitted, 77, rtol=1e-6)


@settings(max_examples=20)
@given(SIDES, SIDES)
def test_the_same_size_changes_nothing(height, width):
    values = noise(height, width).transpose(2, 0, 1)
    np.testing.assert_array_equal(fit(values, (height, width)), values)


def test_the_center_is_kept_and_shrinking_averages(tmp_path):
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 255
    assert (read_picture(save(tmp_path / "x.png", wide), (20, 20)).values == 255).all()
    checkers = (np.indices((80, 80)).sum(0) % 2 * 255).astype(np.uint8)
    small = read_picture(save(tmp_path / "y.png", checkers), (8, 8)).values
    np.testing.assert_allclose(small[:, 1:-1, 1:-1].astype(int), 127, atol=3)


def test_a_large_jpeg_looks_as_if_decoded_whole(tmp_path):
    ramp = np.linspace(0, 255, 640)[None] * np.ones((480, 1))
    path = save(tmp_path / "x.jpg", ramp.astype(np.uint8), quality=95)
    picture = read_picture(path, (48, 64))
    assert picture.size == (480, 640)
    expected = fit(np.asarray(Image.open(path))[None], (48, 64))
    np.testing.assert_allclose(picture.values.astype(int), expected.astype(int), atol=2)
