import hashlib
import json

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image
from PIL.ExifTags import Base
from pyarrow import parquet

from visarch.data.checking import check
from visarch.errors import UserError

from .pictures import noise, save
from .test_hub import cache, repository  # noqa: F401


def found(findings, what):
    return {
        name: why for finding in findings if finding.what == what for name, why in finding.entries
    }


def fill(root, **counts):
    """Images that all differ, in folders given as train_cat=3."""
    number = 0
    for place, count in counts.items():
        for _ in range(count):
            number += 1
            save(root / place.replace("_", "/") / f"{number}.png", noise(8, 8, seed=number))
    return root


def test_a_good_folder(tmp_path):
    report = check(str(fill(tmp_path, train_cat=4, train_dog=3, val_cat=2, val_dog=2)))
    assert report.problems == []
    assert report.remarks == []
    assert report.count == 11
    assert report.splits == {"train": 7, "validation": 4}
    assert report.classes == {
        "train": {"cat": 4, "dog": 3},
        "validation": {"cat": 2, "dog": 2},
    }
    assert report.kinds == {"PNG RGB": 11}
    assert report.sizes == {"8×8": 11}


def test_damaged_files_are_problems(tmp_path):
    root = fill(tmp_path / "x", cat=3, dog=3)
    (root / "cat" / "text.png").write_text("no image")
    (root / "cat" / "empty.jpg").write_bytes(b"")
    whole = save(root / "dog" / "whole.jpg", noise(40, 40)).read_bytes()
    (root / "dog" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    problems = found(check(str(root)).problems, "cannot be used")
    assert problems == {
        "cat/empty.jpg": "is empty (0 bytes)",
        "cat/text.png": "is no image: it holds text",
        "dog/half.jpg": "is truncated: the file ends before its image does",
        "gone.png": "is a broken link",
    }


def test_what_is_odd_is_remarked(tmp_path):
    root = fill(tmp_path, cat=3)
    save(root / "cat" / "deep.png", noise(8, 8, channels=1).astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    save(root / "cat" / "turned.jpg", Image.fromarray(noise(8, 6)), exif=exif)
    gray = Image.fromarray(noise(8, 8, channels=1))
    save(root / "cat" / "moving.gif", gray, save_all=True, append_images=[gray.rotate(90)])
    save(root / "cat" / "clear.png", Image.fromarray(noise(8, 8)).convert("RGBA").rotate(20))
    save(root / "cat" / "red.png", np.full((8, 8, 3), (200, 0, 0), np.uint8))
    report = check(str(root))
    assert report.problems == []
    for what, name in {
        "more than 8 bits": "cat/deep.png",
        "turned": "cat/turned.jpg",
        "several frames": "cat/moving.gif",
        "transparent": "cat/clear.png",
        "constant": "cat/red.png",
    }.items():
        assert list(found(report.remarks, what)) == [name]
    assert report.kinds["PNG RGB"] == 4
    assert report.sizes == {"8×8": 7, "6×8": 1}  # the turned one as it is looked at
    assert "there are no sub-folders" in next(
        finding.why for finding in report.remarks if finding.what == "no classes"
    )


def test_the_same_pixels_in_any_format_are_the_same_image(tmp_path):
    root = fill(tmp_path, train_cat=3, train_dog=3, test_cat=2, test_dog=2)
    image = Image.fromarray(noise(9, 9, seed=99))
    save(root / "train" / "cat" / "a.png", image)
    save(root / "train" / "cat" / "b.bmp", image)
    gray = Image.fromarray(noise(9, 9, channels=1, seed=98))
    save(root / "train" / "dog" / "c.png", gray)
    save(root / "test" / "dog" / "d.png", gray.convert("RGB"))
    other = Image.fromarray(noise(9, 9, seed=97))
    save(root / "train" / "cat" / "e.png", other)
    save(root / "train" / "dog" / "f.tif", other)
    report = check(str(root))
    assert found(report.remarks, "the same image twice") == {
        "train/cat/a.png (train cat)": "also train/cat/b.bmp (train cat)"
    }
    assert found(report.problems, "one image, several splits") == {
        "test/dog/d.png (test dog)": "also train/dog/c.png (train dog)"
    }
    assert found(report.problems, "one image, several labels") == {
        "train/cat/e.png (train cat)": "also train/dog/f.tif (train dog)"
    }


def test_copies_that_the_split_made_for_training_would_tear_apart(tmp_path):
    for number in range(60):
        save(tmp_path / f"{number}.png", noise(8, 8, seed=number // 2))
    report = check(str(tmp_path))
    assert report.problems == []
    (finding,) = [finding for finding in report.remarks if finding.what == "the same image twice"]
    assert len(finding.entries) == 30
    assert "lie on both sides of the split that training makes" in finding.why


def test_classes_that_do_not_match(tmp_path):
    root = fill(tmp_path, train_cat=9, train_dog=2, val_cat=2, val_zebra=1, test_cat=1)
    (root / "train" / "owl").mkdir()
    report = check(str(root))
    assert list(found(report.problems, "unknown classes")) == ["val/zebra/14.png"]
    assert list(found(report.remarks, "classes without images")) == ["dog"]
    assert list(found(report.remarks, "empty folders")) == ["train/owl"]
    assert found(report.remarks, "imbalance") == {"cat": "9 images", "dog": "2 images"}
    assert report.classes["validation"] == {"cat": 2, "dog": 0}


def test_a_split_of_other_classes_altogether(tmp_path):
    report = check(str(fill(tmp_path, train_cat=2, train_dog=2, test_zebra=2)))
    assert "None of the test images" in found(report.problems, "unknown classes")[""]


def test_a_csv_that_says_what_is_not_so(tmp_path):
    fill(tmp_path, cat=4)
    rows = "cat/1.png,a\ncat/2.png,b\ncat/gone.png,a\ncat/1.png,b\ncat/3.png,\n"
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    report = check(str(tmp_path))
    assert list(found(report.problems, "cannot be used")) == ["cat/gone.png"]
    assert list(found(report.problems, "no label")) == ["cat/3.png"]
    assert (
        "cat/1.png is a in line 2 and b in line 5" in found(report.problems, "contradictions")[""]
    )
    assert list(found(report.remarks, "left out")) == ["cat/4.png"]


def test_arrays(tmp_path):
    values = np.random.default_rng(0).normal(size=(12, 8, 8))
    values[3, 0, 0], values[5] = np.nan, 7.0
    values[8] = values[2]
    np.savez(tmp_path / "a.npz", images=values, labels=np.arange(12) % 2, other=values)
    report = check(str(tmp_path / "a.npz"))
    assert report.kind == "array"
    assert report.count == 11
    assert report.classes == {"": {"0": 6, "1": 5}}
    assert list(found(report.problems, "cannot be used")) == ["images[3]"]
    assert list(found(report.remarks, "constant")) == ["images[5]"]
    assert found(report.remarks, "the same image twice") == {"images[2] (0)": "also images[8] (0)"}
    assert list(found(report.remarks, "not used")) == ["other"]
    assert report.kinds == {"float64": 11}


def test_arrays_without_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).normal(size=(12, 8, 8)))
    report = check(str(tmp_path / "a.npz"))
    assert ("no classes", "the file holds no labels") in [(f.what, f.why) for f in report.remarks]


def test_digits():
    report = check("digits")
    assert report.problems == []
    assert report.splits == {"train": 4000, "validation": 500, "test": 500}
    assert report.classes["test"] == {str(digit): 50 for digit in range(10)}


@pytest.mark.parametrize("disk", ["1T", "0"])
def test_parquet_and_hub_and_streams(tmp_path, monkeypatch, disk):
    monkeypatch.setenv("VISARCH_DATA_DISK", disk)
    source = repository(tmp_path / "set", {"train": 9, "test": 3})
    for name in (source, source.removeprefix("hf:")):
        report = check(name)
        assert report.count == 12
        assert report.classes["train"] == {"b": 3, "a": 3, "c": 3}
        assert len(found(report.problems, "one image, several splits")) == 3  # noise 0, 1 and 2


def test_damaged_cells_of_a_table(tmp_path):
    table = pyarrow.table({"image": [b"text", b""], "label": [1, 2]})
    parquet.write_table(table, tmp_path / "x.parquet")
    report = check(str(tmp_path / "x.parquet"))
    assert report.count == 0
    assert found(report.problems, "cannot be used") == {
        "x[0]": "is no image: it holds text",
        "x[1]": "is empty (0 bytes)",
    }


def test_a_table_is_gone_through_a_row_group_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    written = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(noise(8, 8, seed=n)) for n in range(30)]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    written.to_parquet(str(tmp_path / "x.parquet"), batch_size=4)
    assert check(str(tmp_path / "x.parquet")).count == 30
    assert not (tmp_path / "cache").exists()


def test_nothing_is_written(tmp_path):
    root = fill(tmp_path / "x", train_cat=3, train_dog=3, test_cat=2)
    (root / "labels.txt").write_text("x")

    def state():
        return {
            path: (path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    before = state()
    check(str(root))
    assert state() == before


def test_progress_is_told(tmp_path):
    seen = []
    check(str(fill(tmp_path, cat=5)), lambda *numbers: seen.append(numbers))
    assert seen == [(number, 5) for number in range(1, 6)]


def test_what_is_not_there_is_no_report(tmp_path):
    for source in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError):
            check(str(source))


def test_the_report_is_json(tmp_path):
    report = check(str(fill(tmp_path, train_cat=3, train_dog=3, test_cat=2)))
    told = report.to_dict()
    assert json.loads(json.dumps(told))["ok"] is True
    assert told["remarks"][0]["what"] == "classes without images"
