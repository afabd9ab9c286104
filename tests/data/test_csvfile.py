import numpy as np
import pytest

from visarch.data import open_data
from visarch.data.csvfile import find_csv
from visarch.errors import UserError

from .pictures import noise, save


@pytest.fixture
def photos(tmp_path):
    """Four images, of which none lies where its class would be."""
    for number, name in enumerate(["1.png", "2.png", "deep/3.png", "deep/4.png"]):
        save(tmp_path / name, noise(8, 8, seed=number))
    return tmp_path


def write(folder, text, name="labels.csv"):
    (folder / name).write_text(text, "utf-8")
    return str(folder / name)


ROWS = "1.png,cat\n2.png,dog\ndeep/3.png,cat\ndeep/4.png,dog\n"


def reasons(data, what):
    return [(value, why) for name, value, why in data.reasons if name == what]


def labels(data):
    return {
        name: data.classes[label]
        for split in data.splits.values()
        for name, label in zip(split.names, split.labels.tolist(), strict=True)
    }


def test_labels_from_a_csv(photos):
    data = open_data(write(photos, f"file,label\n{ROWS}"))
    assert data.kind == "csv"
    assert data.classes == ("cat", "dog")
    expected = {"1.png": "cat", "2.png": "dog", "deep/3.png": "cat", "deep/4.png": "dog"}
    assert labels(data) == expected
    for split in data.splits.values():
        for name, image in zip(split.names, split.images, strict=True):
            number = int(name[-5]) - 1
            np.testing.assert_array_equal(image, noise(8, 8, seed=number).transpose(2, 0, 1))


def test_context_vectors_from_a_csv_are_kept_as_they_are(photos):
    rows = "1.png,0.5,3\n2.png,-2,4\ndeep/3.png,1e3,5\ndeep/4.png,0,6\n"
    data = open_data(write(photos, f"file,dose,age\n{rows}"))
    assert data.vector_names == ("dose", "age")
    assert data.classes is None
    vectors = {
        name: vector
        for split in data.splits.values()
        for name, vector in zip(split.names, split.vectors.tolist(), strict=True)
    }
    assert vectors["2.png"] == [-2, 4]
    assert vectors["deep/3.png"] == [1000, 5]
    mean, deviation = data.vector_scale
    trained = data.splits["train"].vectors
    np.testing.assert_allclose(mean, trained.mean(0))
    np.testing.assert_allclose(deviation, trained.std(0, correction=0), rtol=1e-5)


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv"])
def test_a_folder_is_read_by_the_csv_at_its_top(photos, name):
    write(photos, f"file_name,label\n{ROWS}", name)
    data = open_data(str(photos))
    assert data.kind == "csv"
    assert labels(data)["deep/3.png"] == "cat"
    assert reasons(data, "source")[0][0] == name


def test_other_tables_in_a_folder_are_named_with_the_way_to_use_them(photos):
    write(photos, "a,b\n1,2\n", "other.csv")
    write(photos, f"file,label\n{ROWS}", "deep/labels.csv")
    data = open_data(str(photos))
    assert data.kind == "folder"
    assert [value for value, _ in reasons(data, "not used")] == ["deep/labels.csv", "other.csv"]
    assert all("give this file itself" in why for _, why in reasons(data, "not used"))


def test_splits_from_a_column(photos):
    rows = "1.png,cat,train\n2.png,dog,train\ndeep/3.png,cat,val\ndeep/4.png,dog,test\n"
    data = open_data(write(photos, f"file,label,split\n{rows}"))
    assert {name: split.names for name, split in data.splits.items()} == {
        "train": ["1.png", "2.png"],
        "validation": ["deep/3.png"],
        "test": ["deep/4.png"],
    }


def test_splits_from_folders_where_no_column_says(tmp_path):
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        save(tmp_path / name)
    rows = "train/1.png,cat\ntrain/2.png,dog\ntest/1.png,dog\n"
    data = open_data(write(tmp_path, f"file,label\n{rows}"))
    assert data.splits["test"].names == ["test/1.png"]
    assert data.classes == ("cat", "dog")
    assert data.splits["test"].labels.tolist() == [1]


def test_a_column_of_splits_without_training_images(photos):
    with pytest.raises(UserError, match="no image is in the split train"):
        open_data(write(photos, "file,split\n1.png,val\n2.png,test\n"))


def test_what_is_missing_and_what_is_not_listed_is_never_silent(photos):
    data = open_data(write(photos, "file,label\n1.png,cat\ndeep/3.png,dog\ngone.png,cat\n"))
    assert data.skipped == [
        ("2.png", "is not listed in labels.csv"),
        ("deep/4.png", "is not listed in labels.csv"),
        ("gone.png", "is listed in line 4 of labels.csv, but not there"),
    ]
    assert reasons(data, "not listed")[0][0] == "2: 2.png, deep/4.png"


def test_only_folders_of_listed_images_are_searched_for_others(photos):
    assert open_data(write(photos, "file\ndeep/3.png\n")).skipped == [
        ("deep/4.png", "is not listed in labels.csv")
    ]


def test_an_image_may_be_listed_twice_but_not_in_two_ways(photos):
    data = open_data(write(photos, f"file,label\n{ROWS}./1.png,cat\ndeep/../2.png,dog\n"))
    assert sum(map(len, data.splits.values())) == 4
    assert reasons(data, "listed twice")[0][0] == "1.png, 2.png"
    with pytest.raises(UserError, match=r"1.png is cat in line 2 and dog in line 6"):
        open_data(write(photos, f"file,label\n{ROWS}1.png,dog\n"))
    with pytest.raises(UserError, match=r"1.png is 3 in line 2 and 4 in line 3"):
        open_data(write(photos, "file,age\n1.png,3\n1.png,4\n"))


def test_rows_that_must_be_mended_stop_training_and_are_named(photos):
    with pytest.raises(UserError, match=r"must be mended first: labels.csv: line 3: age is 'x'"):
        open_data(write(photos, "file,age\n1.png,3\n2.png,x\ndeep/3.png,3\n"))


def test_paths_may_be_absolute_or_written_by_windows(photos):
    rows = f"{photos / '1.png'},cat\ndeep\\3.png,dog\n"
    data = open_data(write(photos, f"file,label\n{rows}"))
    assert labels(data) == {"1.png": "cat", "deep/3.png": "dog"}
    elsewhere = photos / "lists"
    elsewhere.mkdir()
    data = open_data(write(elsewhere, f"file,label\n{photos / '1.png'},cat\n../2.png,dog\n"))
    assert sorted(labels(data).values()) == ["cat", "dog"]


def test_names_without_suffixes_are_answered(photos):
    with pytest.raises(
        UserError, match=r"None of the 1 images .* There is '1.png': write the names"
    ):
        open_data(write(photos, "file,label\n1,cat\n"))
    with pytest.raises(UserError, match=r"Paths are relative to the folder of the CSV"):
        open_data(write(photos, "file,label\nnowhere/1.png,cat\n"))


def test_numbers_as_labels_are_ordered_by_value(photos):
    rows = "1.png,10\n2.png,9\ndeep/3.png,2\ndeep/4.png,2\n"
    assert open_data(write(photos, f"file,label\n{rows}")).classes == ("2", "9", "10")


def test_an_image_without_a_label_is_left_out(photos):
    data = open_data(
        write(photos, "file,label\n1.png,cat\n2.png,\ndeep/3.png,dog\ndeep/4.png,cat\n")
    )
    assert ("2.png", "has no label, as others have") in data.skipped


def test_damaged_images_are_skipped(photos):
    (photos / "2.png").write_text("no image")
    data = open_data(write(photos, f"file,label\n{ROWS}"))
    assert data.skipped == [("2.png", "is no image: it holds text")]


def test_accents_may_be_spelt_otherwise_than_in_the_file_system(tmp_path):
    save(tmp_path / "e\u0301.png")
    save(tmp_path / "x.png")
    found = find_csv(tmp_path / write(tmp_path, "file,label\n\u00e9.png,cat\nx.png,dog\n"))
    assert [sample.label for sample in found.samples] == ["cat", "dog"]
    assert found.left_out == []


def test_a_list_of_nothing_holds_no_image(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\n")
    with pytest.raises(UserError, match=r"list\.csv' holds no image\.$"):
        open_data(str(tmp_path / "list.csv"))
