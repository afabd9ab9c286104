import hashlib
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import assembly, dataset, open_data
from visarch.errors import UserError

from .pictures import noise, save


def reasons(data, what):
    return [(value, why) for name, value, why in data.reasons if name == what]


@pytest.fixture
def folder(tmp_path):
    """Two classes in splits, of many sizes and modes, with damaged ones among them."""
    root = tmp_path / "photos"
    for number in range(60):
        split = ("train", "train", "train", "val", "test")[number % 5]
        suffix = ("png", "jpg", "webp")[number % 3]
        picture = Image.fromarray(noise(10 + number, 14, seed=number))
        if number % 7 == 0:
            picture = picture.convert("RGBA" if suffix == "png" else "L")
        save(root / split / ("cat", "dog")[number // 5 % 2] / f"{number}.{suffix}", picture)
    (root / "train" / "cat" / "text.png").write_text("no image")
    half = (root / "train" / "cat" / "0.png").read_bytes()
    (root / "train" / "dog" / "half.png").write_bytes(half[: len(half) // 2])
    (root / "val" / "owl").mkdir()
    save(root / "val" / "owl" / "1.png")
    return root


def digest(root):
    """Everything in a folder, names and content."""
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        whole.update(repr((str(path), path.lstat().st_mtime_ns)).encode())
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")


def test_on_demand_every_sample_is_what_it_is_in_memory(folder, monkeypatch):
    held = open_data(folder)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    lazy = open_data(folder)
    assert lazy.preparation == held.preparation
    assert lazy.classes == held.classes
    assert lazy.skipped == held.skipped
    assert list(lazy.splits) == ["train", "validation", "test"]
    for name, split in lazy.splits.items():
        whole = held.splits[name]
        assert whole.in_memory
        assert not split.in_memory
        assert split.names == whole.names
        assert torch.equal(split.labels, whole.labels)
        order = torch.randperm(len(split))
        batch = split.read(order)
        assert batch.images.dtype == whole.images.dtype
        assert torch.equal(batch.images, whole.images[order])
        assert torch.equal(batch.labels, whole.labels[order])
    assert reasons(lazy, "held")[0][0] == "on disk"
    assert reasons(held, "held") == []


@pytest.mark.parametrize("memory", ["0", "8G"])
def test_nothing_in_the_folder_changes(folder, monkeypatch, memory):
    monkeypatch.setenv("VISARCH_DATA_MEMORY", memory)
    before = digest(folder)
    data = open_data(folder)
    data.splits["train"].read(torch.arange(5))
    data.describe()
    assert digest(folder) == before


@pytest.mark.parametrize("kind", ["u2", "f4", "csv"])
def test_on_demand_with_other_types_and_vectors(tmp_path, monkeypatch, kind):
    for number in range(12):
        pixels = noise(8, 8, channels=1, seed=number).astype(
            np.uint16 if kind == "u2" else np.uint8
        )
        if kind == "f4":
            save(tmp_path / f"{number}.tif", (pixels / 255).astype(np.float32))
        else:
            save(tmp_path / f"{number}.png", pixels * 200 if kind == "u2" else pixels)
    source = tmp_path
    if kind == "csv":
        source = tmp_path / "x.csv"
        source.write_text("file,a,b\n" + "".join(f"{n}.png,{n},{n / 2}\n" for n in range(12)))
    held = open_data(source)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    lazy = open_data(source)
    for name, split in lazy.splits.items():
        batch, whole = split.read(torch.arange(len(split))), held.splits[name]
        assert torch.equal(batch.images, whole.images)
        assert batch.images.dtype == whole.images.dtype
        if kind == "csv":
            assert torch.equal(batch.vectors, whole.vectors)


def test_no_image_at_all_can_be_read_too(folder, little_memory):
    batch = open_data(folder).splits["train"].read(torch.arange(0))
    assert batch.images.shape == (0, 3, *open_data(folder).shape[1:])


def test_threads_may_read_at_the_same_time(folder, little_memory):
    split = open_data(folder).splits["train"]
    whole = split.read(torch.arange(len(split))).images
    wrong = []

    def read(start):
        for _ in range(3):
            indices = torch.arange(start, len(split), 3)
            if not torch.equal(split.read(indices).images, whole[indices]):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("damage", ["gone", "cut", "text"])
def test_a_file_that_turns_bad_later_is_named(folder, little_memory, damage):
    split = open_data(folder).splits["train"]
    path = folder / split.names[3]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60] if damage == "cut" else b"text")
    split.read(torch.arange(3))
    with pytest.raises(UserError, match=rf"{split.names[3]} in .* must be whole: `visarch check"):
        split.read(torch.arange(6))


def test_a_value_off_the_scale_is_named_later(tmp_path, monkeypatch, little_memory):
    monkeypatch.setattr(assembly, "_LOOKED_AT", 2)
    for number in range(6):
        save(tmp_path / f"{number}.png", np.full((8, 8), 5000 if number == 4 else 100, np.uint16))
    data = open_data(tmp_path)
    every = {name: split for split in data.splits.values() for name in split.names}
    split = every["4.png"]
    with pytest.raises(UserError, match=r"4.png in .* has values from 5000 to 5000, which leave"):
        split.read(torch.tensor([split.names.index("4.png")]))


def test_how_many_images_were_looked_at_is_said(folder, monkeypatch, little_memory):
    monkeypatch.setattr(assembly, "_LOOKED_AT", 10)
    data = open_data(folder)
    value, why = reasons(data, "looked at")[0]
    assert int(value.split()[0]) <= 10
    assert "of 6" in why


def test_what_pillow_warns_of_ends_no_reading(tmp_path, little_memory, monkeypatch):
    for number in range(3):
        save(tmp_path / f"{number}.png", noise(40, 40, seed=number))
    split = open_data(tmp_path).splits["train"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # above: a warning; above twice: an error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = open_data(tmp_path).splits["train"]
        assert len(split.read(torch.arange(len(split)))) == len(split)


def test_the_fingerprint_of_a_large_set_does_not_depend_on_where_it_is_held(folder, monkeypatch):
    monkeypatch.setattr(dataset, "DIGESTED_IN_FULL", 1000)
    monkeypatch.setattr(assembly, "DIGESTED_IN_FULL", 1000)
    held = open_data(folder)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    lazy = open_data(folder)
    assert held.splits["train"].in_memory
    assert not lazy.splits["train"].in_memory
    assert held.fingerprint() == lazy.fingerprint()
    path = folder / lazy.splits["train"].names[0]
    path.write_bytes(path.read_bytes() + b"more")
    assert open_data(folder).fingerprint() != lazy.fingerprint()


def test_the_fingerprint_of_a_set_on_disk_decodes_but_a_few(tmp_path, monkeypatch, little_memory):
    monkeypatch.setattr(dataset, "_DIGESTED_OF_MANY", 3)
    for number in range(30):
        save(tmp_path / f"{number}.png", noise(8, 8, seed=number))
    data = open_data(tmp_path)
    shown = []
    own = assembly.Pictures._decode
    monkeypatch.setattr(
        assembly.Pictures, "_decode", lambda self, n: shown.append(n) or own(self, n)
    )
    first = data.fingerprint()
    assert len(shown) == 6
    data.splits["train"].labels = torch.zeros(len(data.splits["train"]), dtype=torch.int64)
    assert data.fingerprint() != first


def test_a_split_of_which_nothing_can_be_used(folder):
    for path in (folder / "test").rglob("*.*"):
        path.write_text("no image")
    with pytest.raises(UserError, match=r"None of the test images in .* can be used: test/cat"):
        open_data(folder)


def test_a_class_that_only_validation_has_is_left_out(folder):
    data = open_data(folder)
    assert data.classes == ("cat", "dog")
    assert ("val/owl/1.png", "is of the class 'owl', which is none of training") in data.skipped
    assert reasons(data, "unknown class")[0][0] == "validation owl"


def test_the_classes_of_a_model_number_the_labels_of_other_data(folder):
    trained = open_data(folder)
    data = open_data(folder / "test", like=trained.preparation, classes=("owl", "dog", "cat"))
    assert data.classes == ("owl", "dog", "cat")
    for split in data.splits.values():
        assert [data.classes[label] for label in split.labels] == [
            name.split("/")[0] for name in split.names
        ]
    only = open_data(folder / "test" / "cat", like=trained.preparation, classes=("cat", "dog"))
    assert only.splits["train"].labels is None  # the folder's own name says nothing


def test_validation_is_held_out_where_only_test_is_given(tmp_path):
    for number in range(30):
        save(tmp_path / ("test" if number % 3 == 0 else "train") / f"{number}.png")
    data = open_data(tmp_path)
    assert list(data.splits) == ["train", "validation", "test"]
    assert len(data.splits["test"]) == 10
    assert len(data.splits["validation"]) + len(data.splits["train"]) == 20
    assert all(name.startswith("train/") for name in data.splits["validation"].names)
    assert len(reasons(data, "split")) == 2


def test_a_file_called_like_a_split_is_none(tmp_path):
    for name in ("train_01.png", "test_01.png", "val.png", "train.png"):
        save(tmp_path / name)
    data = open_data(tmp_path)
    assert list(data.splits) == ["train", "validation"]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 4
