import io
import json

import datasets
import numpy as np
import pandas
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from visarch.data import open_data
from visarch.data import parquet as reading
from visarch.errors import UserError

from .pictures import noise, save


def encoded(number, size=8):
    """A PNG of its own pixels."""
    stream = io.BytesIO()
    Image.fromarray(noise(size, size, seed=number)).save(stream, "PNG")
    return stream.getvalue()


def rows(count, start=0):
    return {
        "image": [{"bytes": encoded(n), "path": None} for n in range(start, start + count)],
        "label": [n % 3 for n in range(start, start + count)],
    }


FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["zebra", "ant", "none", "cat"]},
}


def write(path, columns, features=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if features:
        noted = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": noted})
    parquet.write_table(table, path, **options)
    return str(path)


def images(data):
    return {
        name: image
        for split in data.splits.values()
        for name, image in zip(split.names, split.images, strict=True)
    }


def reasons(data, what):
    return [(value, why) for name, value, why in data.reasons if name == what]


def check_noise(data, names):
    """Whether each image, in the order of the file, is that of its number."""
    by_name = images(data)
    assert sorted(by_name) == sorted(names)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(by_name[name], noise(8, 8, seed=number).transpose(2, 0, 1))


def test_a_file_with_class_names_in_its_schema(tmp_path):
    data = open_data(write(tmp_path / "x.parquet", rows(12), FEATURES, row_group_size=5))
    assert data.kind == "parquet"
    assert data.classes == ("zebra", "ant", "none", "cat")  # their order and an empty one stay
    check_noise(data, [f"x[{number}]" for number in range(12)])
    for split in data.splits.values():
        assert split.labels.tolist() == [int(name[2:-1]) % 3 for name in split.names]
    assert reasons(data, "classes without images")[0][0] == "cat"


def test_as_datasets_writes_it(tmp_path):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["b", "a"]),
        }
    )
    written = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(noise(8, 8, seed=n)) for n in range(9)], "label": [0, 1, 0] * 3},
        features=features,
    )
    written.to_parquet(str(tmp_path / "x.parquet"))
    data = open_data(tmp_path / "x.parquet")
    assert data.classes == ("b", "a")
    check_noise(data, [f"x[{number}]" for number in range(9)])


def test_as_pandas_writes_it(tmp_path):
    frame = pandas.DataFrame(
        {"img": [encoded(n) for n in range(6)], "label": ["x", "y", "x"] * 2, "age": range(6)}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    data = open_data(tmp_path / "x.parquet")
    assert data.classes == ("x", "y")
    check_noise(data, [f"x[{number}]" for number in range(6)])
    assert reasons(data, "other columns") == [("age", "not used")]
    frame["label"] = frame["label"].astype("category")
    frame.to_parquet(tmp_path / "x.parquet")
    assert open_data(tmp_path / "x.parquet").classes == ("x", "y")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        ([1.0, None, 2.0], ("1", "2")),
        ([True, False, True], ("False", "True")),
        ([None, None, None], None),
        ([[1], [2], [3]], None),
    ],
)
def test_labels_of_other_types(tmp_path, values, classes):
    columns = {"image": [encoded(n) for n in range(3)], "label": pyarrow.array(values)}
    data = open_data(write(tmp_path / "x.parquet", columns))
    assert data.classes == classes
    assert [name for name, _ in data.skipped] == (["x[1]"] if values[1] is None and classes else [])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("default/partial-train/0000.parquet", "default/partial-test/0000.parquet"),
        ("Training.PARQUET", "Testing.parquet"),
    ],
)
def test_splits_by_the_names_of_files_or_folders(tmp_path, train, test):
    write(tmp_path / train, rows(20), FEATURES)
    write(tmp_path / test, rows(4, start=20), FEATURES)
    data = open_data(tmp_path)
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.splits["test"].names == [f"test[{number}]" for number in range(4)]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 20
    check_noise(
        data, [*(f"train[{n}]" for n in range(20)), *(f"test[{number}]" for number in range(4))]
    )


def test_pieces_of_a_split_are_one_after_the_other(tmp_path):
    for piece in (1, 0, 2):
        name = f"data/train-0000{piece}-of-00003.parquet"
        write(tmp_path / name, rows(3, start=3 * piece), FEATURES)
    check_noise(open_data(tmp_path), [f"{tmp_path.name}[{number}]" for number in range(9)])


def test_files_that_belong_to_no_split_are_named(tmp_path):
    for name in ("train.parquet", "validation.parquet", "extra.parquet"):
        write(tmp_path / name, rows(4), FEATURES)
    data = open_data(tmp_path)
    assert list(data.splits) == ["train", "validation"]
    assert [name for name, _ in data.skipped] == ["extra.parquet"]
    (tmp_path / "train.parquet").unlink()
    write(tmp_path / "test.parquet", rows(4), FEATURES)
    with pytest.raises(UserError, match="for test and validation, but none for training"):
        open_data(tmp_path)


def test_a_folder_with_images_is_one_of_images(tmp_path):
    save(tmp_path / "1.png")
    write(tmp_path / "x.parquet", rows(3), FEATURES)
    data = open_data(tmp_path)
    assert data.kind == "folder"
    assert "give the .parquet file itself" in reasons(data, "not used")[0][1]


def test_images_may_lie_beside_their_table(tmp_path):
    save(tmp_path / "there" / "0.png", noise(8, 8, seed=0))
    cells = [{"bytes": None, "path": "there/0.png"}, {"bytes": encoded(1), "path": "1.png"}]
    check_noise(open_data(write(tmp_path / "x.parquet", {"image": cells})), ["x[0]", "x[1]"])


def test_cells_that_are_no_images_are_skipped(tmp_path):
    cells = [
        {"bytes": encoded(0), "path": None},
        {"bytes": b"text", "path": None},
        {"bytes": None, "path": "gone.png"},
        {"bytes": None, "path": None},
        None,
    ]
    data = open_data(write(tmp_path / "x.parquet", {"image": cells}))
    assert data.skipped == [
        ("x[1]", "is no image: it holds text"),
        ("x[2]", "cannot be opened: no such file or directory"),
        ("x[3]", "is empty (0 bytes)"),
        ("x[4]", "is empty (0 bytes)"),
    ]


def test_unlabelled_rows_and_splits_as_hugging_face_marks_them(tmp_path):
    some = rows(6)
    some["label"][2] = -1
    write(tmp_path / "train.parquet", some, FEATURES)
    write(tmp_path / "test.parquet", rows(2) | {"label": [-1, -1]}, FEATURES)
    data = open_data(tmp_path)
    assert data.splits["test"].labels is None
    assert data.skipped == [("train[2]", "has no label, as others have")]
    write(tmp_path / "train.parquet", rows(2) | {"label": [0, 4]}, FEATURES)
    with pytest.raises(UserError, match="The column label holds 4, but only 4 classes"):
        open_data(tmp_path)


def test_which_columns_are_used(tmp_path):
    both = {name: [encoded(n) for n in range(3)] for name in ("mask", "image")}
    assert reasons(open_data(write(tmp_path / "x.parquet", both)), "columns")[0][0] == "image"
    fine = {"image": {"_type": "Image"}, "coarse": {"_type": "ClassLabel", "names": ["a", "b"]}}
    columns = {"image": both["image"], "coarse": [0, 1, 0], "target": [1, 2, 3]}
    data = open_data(write(tmp_path / "x.parquet", columns, fine))
    assert data.classes == ("a", "b")
    assert reasons(data, "other columns") == [("target", "not used")]
    for unclear in ({"mask": both["mask"], "other": both["mask"]}, {"x": [1, 2]}):
        with pytest.raises(UserError, match=r"columns are .*One of them, called image, must hold"):
            open_data(write(tmp_path / "x.parquet", unclear))


def test_tables_that_do_not_belong_together(tmp_path):
    write(tmp_path / "train.parquet", rows(3), FEATURES)
    write(tmp_path / "test.parquet", {"img": [encoded(0)]})
    with pytest.raises(UserError, match=r"do not have the same columns \(test.parquet differs\)"):
        open_data(tmp_path)
    write(tmp_path / "train-2.parquet", {"img": [encoded(0)]})
    with pytest.raises(UserError, match="has other columns than"):
        open_data(tmp_path)


def test_a_damaged_file(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="is no Parquet file, or is damaged"):
        open_data(tmp_path / "x.parquet")
    write(tmp_path / "x.parquet", rows(50), FEATURES)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[8:3000] = bytes(2992)
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        open_data(tmp_path / "x.parquet")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'visarch\[data\]'"):
        open_data(write(tmp_path / "x.parquet", rows(2)))


def test_rows_in_order_and_at_random_are_the_same(tmp_path):
    write(tmp_path / "train-0.parquet", rows(7), FEATURES, row_group_size=2)
    write(tmp_path / "train-1.parquet", rows(6, start=7), FEATURES, row_group_size=4)
    groups = reading.RowGroups(sorted(tmp_path.glob("*.parquet")), "x")
    column = groups.of("image")
    assert len(column) == 13
    for row in [0, 12, 3, 6, 7, 11, 1]:
        assert column[row].as_py()["bytes"] == encoded(row)
    assert [cell.as_py() for cell in column] == groups.column("image").to_pylist()


def test_a_table_that_is_too_large_is_mapped_from_the_disk(tmp_path, monkeypatch):
    source = write(tmp_path / "x.parquet", rows(12), FEATURES)
    whole = open_data(source)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "100")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = open_data(source)
    assert not data.splits["train"].in_memory
    assert "HF_DATASETS_CACHE" in reasons(data, "table")[0][1]
    for name, split in data.splits.items():
        every = range(len(split))
        assert split.take("all", every).names == whole.splits[name].names
        assert torch.equal(split.read(torch.tensor(every)).images, whole.splits[name].images)
