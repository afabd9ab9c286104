import hashlib
import json
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import Preparation, load_images, open_data
from visarch.data.picture import ANIMATED, TRANSPARENT
from visarch.errors import UserError

from .pictures import noise, save


def reasons(data, what):
    return [(value, why) for name, value, why in data.reasons if name == what]


def images(data):
    """Every image by its name."""
    return {
        name: image
        for split in data.splits.values()
        for name, image in zip(split.names, split.images, strict=True)
    }


def state(root):
    """All that could change in a folder, but for the times at which files were read."""
    return {
        path.relative_to(root): (
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
            None if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in [root, *root.rglob("*")]
    }


@pytest.fixture
def messy(tmp_path):
    """What people have: sizes and modes mixed, files broken, things beside."""
    root = tmp_path / "photos"
    color, gray = Image.fromarray(noise(40, 60)), Image.fromarray(noise(50, 30, channels=1))
    save(root / "cats" / "a.JPG", color)
    save(root / "cats" / "b.png", color.convert("RGBA").rotate(20))
    save(root / "cats" / "deep" / "er" / "c.webp", gray)
    save(root / "dogs" / "d.tiff", color.convert("CMYK"))
    save(root / "dogs" / "e.gif", gray, save_all=True, append_images=[gray.rotate(90)])
    save(root / "dogs" / "f.bmp", color.convert("1"))
    save(root / "dogs" / "g.png", np.asarray(gray).astype(np.uint16) * 257)
    save(root / "dogs" / "h.tif", np.asarray(gray).astype(np.float32))
    save(root / "dogs" / "i.tif", np.asarray(gray).astype(np.int32))
    (root / "dogs" / "text.png").write_text("I am no picture")
    (root / "cats" / "empty.jpeg").write_bytes(b"")
    half = (root / "cats" / "a.JPG").read_bytes()
    (root / "cats" / "half.jpg").write_bytes(half[: len(half) // 2])
    (root / "notes.txt").write_text("beside")
    (root / ".DS_Store").write_bytes(b"\x00")
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return root


def test_a_messy_folder_is_used_as_far_as_it_can_be(messy):
    data = open_data(str(messy))
    assert data.kind == "folder"
    assert data.source == str(messy)
    assert (data.shape, data.levels) == ((3, 24, 24), 256)
    assert data.classes == ("cats", "dogs")
    assert sorted(images(data)) == [
        *("cats/a.JPG", "cats/b.png", "cats/deep/er/c.webp", "dogs/d.tiff", "dogs/e.gif"),
        *("dogs/f.bmp", "dogs/g.png", "dogs/h.tif", "dogs/i.tif"),
    ]
    assert data.skipped == [
        ("cats/empty.jpeg", "is empty (0 bytes)"),
        ("cats/half.jpg", "is truncated: the file ends before its image does"),
        ("dogs/text.png", "is no image: it holds text"),
    ]
    for split in data.splits.values():
        assert split.images.dtype == torch.uint8
        assert split.names == sorted(split.names)
        assert split.labels.tolist() == [int(name.startswith("dogs")) for name in split.names]
    assert ("cats/b.png", TRANSPARENT) in reasons(data, "note")
    assert ("dogs/e.gif", ANIMATED) in reasons(data, "note")
    assert reasons(data, "other files") == [("1", "no images: 1 .txt")]
    assert "3 of 9 images are in color" in reasons(data, "channels")[0][1]
    assert "3 of 9 images have more than 8 bits" in reasons(data, "levels")[0][1]
    json.dumps(data.describe())


def test_files_of_16_and_32_bits_become_the_same_8_bits(messy):
    by_name = images(open_data(str(messy), image_size=(50, 30)))
    gray = torch.from_numpy(noise(50, 30, channels=1)).expand(3, 50, 30)
    for name in ("dogs/e.gif", "dogs/g.png", "dogs/h.tif", "dogs/i.tif"):
        assert torch.equal(by_name[name], gray), name


def test_nothing_in_the_folder_changes(messy):
    before = state(messy)
    open_data(str(messy))
    assert state(messy) == before


def test_opening_twice_gives_the_same_and_warns_of_nothing(messy):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = open_data(str(messy)), open_data(str(messy) + "/")
    assert caught == []
    assert first.fingerprint() == second.fingerprint()
    assert first.describe()["splits"] == second.describe()["splits"]


def test_image_files_are_prepared_as_training_images_were(messy):
    data = open_data(str(messy))
    names = list(images(data))
    loaded = load_images([messy / name for name in names], data.preparation)
    assert loaded.images.dtype == torch.uint8
    assert loaded.names == [str(messy / name) for name in names]
    for image, name in zip(loaded.images, names, strict=True):
        assert torch.equal(image, images(data)[name])


def test_a_folder_can_be_opened_like_another(messy, tmp_path):
    save(tmp_path / "new" / "x.png", noise(90, 90))
    trained = open_data(str(messy), image_size=(24, 16), channels=1)
    data = open_data(str(tmp_path / "new"), like=trained.preparation)
    assert data.preparation == trained.preparation
    assert images(data)["x.png"].shape == (1, 24, 16)
    remembered = Preparation.from_dict(json.loads(json.dumps(trained.describe()))["preparation"])
    assert remembered == trained.preparation


def test_size_and_channels_as_asked_for(messy):
    data = open_data(str(messy), image_size=(16, 24), channels=1)
    assert data.shape == (1, 16, 24)
    assert reasons(data, "image size") == [("16×24", "as asked for")]
    assert reasons(data, "channels") == [("1", "as asked for")]
    assert open_data(str(messy), image_size=8).shape == (3, 8, 8)
    with pytest.raises(UserError, match="--image-size 8 8 8 does not fit 2-d data"):
        open_data(str(messy), image_size=(8, 8, 8))
    with pytest.raises(UserError, match="--image-channels is 2"):
        open_data(str(messy), channels=2)


def test_gray_pictures_saved_in_color_have_one_channel(tmp_path):
    gray = Image.fromarray(noise(16, 16, channels=1))
    save(tmp_path / "a.jpg", gray.convert("RGB"))
    save(tmp_path / "b.png", gray.convert("RGBA"))
    save(tmp_path / "c.gif", gray)
    save(tmp_path / "d.webp", gray)
    data = open_data(str(tmp_path))
    assert data.shape == (1, 16, 16)
    assert reasons(data, "channels") == [("1", "every image is gray")]


def test_images_of_one_odd_size_are_kept_exactly(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", noise(13, 9, seed=number))
    data = open_data(str(tmp_path))
    assert data.shape == (3, 13, 9)
    assert data.classes is None
    for name, image in images(data).items():
        pixels = noise(13, 9, seed=int(name[0])).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize(("largest", "levels"), [(200, 256), (4000, 4096), (65535, 65536)])
def test_a_folder_of_16_bit_images_keeps_its_depth(tmp_path, largest, levels):
    ramp = np.linspace(0, largest, 64).reshape(8, 8).astype(np.uint16)
    for name in ("a.png", "b.tif"):
        save(tmp_path / name, ramp)
    data = open_data(str(tmp_path))
    assert data.levels == levels
    assert data.splits["train"].images.dtype == (torch.uint8 if levels == 256 else torch.int32)
    np.testing.assert_array_equal(data.splits["train"].images[0, 0], ramp)
    assert f"the largest value is {largest}" in reasons(data, "levels")[0][1]

    save(tmp_path / "new" / "bytes.png", np.full((8, 8), 128, np.uint8))
    loaded = load_images([tmp_path / "new" / "bytes.png"], data.preparation)
    assert (loaded.images // (levels // 256) == 128).all()


def test_a_value_beyond_the_depth_that_was_trained_on_is_refused(tmp_path):
    for name in ("old/a.png", "old/b.png"):
        save(tmp_path / name, np.full((8, 8), 4000, np.uint16))
    save(tmp_path / "new" / "c.png", np.full((8, 8), 5000, np.uint16))
    like = open_data(str(tmp_path / "old")).preparation
    with pytest.raises(UserError, match=r"c.png has values from 5000 to 5000, which leave the ran"):
        open_data(str(tmp_path / "new"), like=like)
    with pytest.raises(UserError, match=r"c.png' has values from 5000 to 5000"):
        load_images([tmp_path / "new" / "c.png"], like)
    save(tmp_path / "new" / "d.png", np.full((8, 8), 4095, np.uint16))
    data = open_data(str(tmp_path / "new"), like=like)
    assert data.splits["train"].names == ["d.png"]
    assert [name for name, _ in data.skipped] == ["c.png"]


def test_floating_point_images_within_0_and_1_have_16_bits(tmp_path):
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    save(tmp_path / "a.tif", ramp)
    data = open_data(str(tmp_path))
    assert data.levels == 65536
    assert data.splits["train"].images.max() == 65535
    unit = (data.splits["train"].images[0, 0].numpy() + 0.5) / 65536
    np.testing.assert_allclose(unit, ramp, atol=2**-16)


def test_a_single_image_is_trained_and_validated_on(tmp_path):
    save(tmp_path / "only.png")
    data = open_data(str(tmp_path))
    assert data.splits["train"].names == data.splits["validation"].names == ["only.png"]
    assert "single" in reasons(data, "split")[0][1]


def test_adding_images_keeps_the_others_where_they_were(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}.png", noise(8, 8, seed=number))
    before = open_data(str(tmp_path)).splits["validation"].names
    for number in range(40, 60):
        save(tmp_path / f"{number}.png", noise(8, 8, seed=number))
    after = open_data(str(tmp_path)).splits["validation"].names
    assert before == [name for name in after if int(name.split(".")[0]) < 40]


def test_progress_is_told(tmp_path):
    for number in range(5):
        save(tmp_path / f"{number}.png")
    seen = []
    open_data(str(tmp_path), image_size=8, progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (5, 5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no images \(.apng, .bmp.*\) in the folder .* It is empty."),
        ({"a.txt": b"x", "b.csv": b"x"}, "What else it holds: 1 .csv, 1 .txt."),
        ({"a.npz": b"PK"}, "You could give the .npz file itself."),
        ({"a.HEIC": b"x", "b.zip": b"x"}, "save the .heic files as JPEG first or unpack the arch"),
        (
            {"a.png": b"", "b.jpg": b"text", "c/d.gif": b"GIF89a", "e.bmp": b"", "f.txt": b""},
            r"None of the 4 images .* can be used: a.png is empty \(0 bytes\); b.jpg is no image: "
            r"it holds text; c/d.gif .*; and 1 more. What else it holds: 1 .txt.",
        ),
    ],
)
def test_a_folder_without_usable_images_is_described(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        open_data(str(tmp_path))
    assert str(tmp_path) in str(error.value)
