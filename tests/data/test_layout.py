import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.classes import number_classes
from visarch.data.layout import SPLITS, arrange
from visarch.errors import UserError


def reasons(layout, what):
    return [(value, why) for name, value, why in layout.reasons if name == what]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["a/1.png", "b/2.png"], {"a", "b"}),
        (["b/x/1.png", "a/2.png", "b/3.png"], {"a", "b"}),
        (["data/images/a/1.png", "data/images/b/2.png"], {"a", "b"}),
        (["10/1.png", "9/1.png", "2/1.png"], {"10", "2", "9"}),
        (["a/1.png", "2.png"], set()),
        (["a/1.png", "a/2.png"], set()),
        (["a/1.png", "a/b/2.png"], set()),
        (["1.png", "2.png"], set()),
        (["a/1.png"], set()),
        (["train/a/1.png", "train/b/2.png"], {"a", "b"}),
        (["test/a/1.png", "test/b/2.png"], {"a", "b"}),
        (["car/1.png", "bus/2.png", "train/3.png"], {"car", "bus", "train"}),
        (["cat/1.png", "dog/2.png", "test/3.png"], {"cat", "dog", "test"}),
    ],
)
def test_classes_are_the_folders_that_hold_every_image(names, classes):
    layout = arrange(names)
    assert layout.splits == {}
    assert set(layout.labels.values()) == classes
    assert layout.why_classes
    for name, label in layout.labels.items():
        assert label in name.split("/")


def test_why_there_are_no_classes():
    assert "2.png" in arrange(["a/1.png", "2.png"]).why_classes


@pytest.mark.parametrize("folder", [*SPLITS, "Train", "TESTING", "Valid"])
def test_every_name_of_a_split_in_upper_and_lower_case(folder):
    split = SPLITS[folder.lower()]
    other = "test" if split == "train" else "train"
    layout = arrange([f"{folder}/1.png", f"{other}/2.png"])
    assert layout.splits == {f"{folder}/1.png": split, f"{other}/2.png": other}


@pytest.mark.parametrize(
    "names",
    [
        ["train_01.png", "test_01.png", "val_01.png"],
        ["train.png", "test.png"],
        ["training_set/1.png", "test_set/2.png"],
        ["a/train/1.png", "b/test/2.png"],
        ["train", "test"],
    ],
)
def test_only_top_level_folders_called_exactly_so_are_splits(names):
    assert arrange(names).splits == {}


def test_splits_below_folders_that_all_images_share():
    layout = arrange(["set/images/train/a/1.png", "set/images/val/a/2.png"])
    assert set(layout.splits.values()) == {"train", "validation"}


def test_several_folders_of_one_split_are_one():
    layout = arrange(["train/1.png", "training/2.png", "val/3.png", "validation/4.png"])
    assert list(layout.splits.values()) == ["train", "train", "validation", "validation"]


def test_folders_that_training_images_share_are_looked_through_everywhere():
    names = [f"{split}/images/{c}/1.png" for split in ("train", "test") for c in ("a", "b")]
    assert set(arrange(names).labels.values()) == {"a", "b"}
    names[2:] = ["test/images/a/1.png"]
    assert set(arrange(names).labels.values()) == {"a", "b"}


def test_a_split_of_one_class_keeps_it():
    layout = arrange(["train/a/1.png", "train/b/1.png", "test/b/1.png"])
    assert layout.labels["test/b/1.png"] == "b"


def test_images_beside_the_splits_are_left_out_and_named():
    layout = arrange(["train/1.png", "test/2.png", "extra/3.png", "4.png"])
    assert sorted(layout.left_out) == ["4.png", "extra/3.png"]
    assert reasons(layout, "beside the splits")[0][0] == "extra/3.png, 4.png"


def test_unlabelled_splits_stay_without_labels():
    layout = arrange(["train/a/1.png", "train/b/2.png", "test/3.png"])
    assert "test/3.png" not in layout.labels
    assert "test/3.png" in layout.splits
    assert reasons(layout, "labels") == [("none for test", "its images lie in no sub-folders")]


def test_an_image_outside_the_classes_of_a_labelled_split_is_left_out():
    layout = arrange(["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/4.png"])
    assert list(layout.left_out) == ["test/4.png"]


def test_where_training_has_no_classes_none_has():
    layout = arrange(["train/1.png", "test/a/2.png", "test/b/3.png"])
    assert layout.labels == {}
    assert "in training, there are no sub-folders" in layout.why_classes
    assert "as those of training name none" in reasons(layout, "classes")[0][1]


def test_a_training_folder_without_images_is_no_reason_to_train_on_the_others():
    with pytest.raises(UserError, match="a folder for training, but no image in it"):
        arrange(["test/a/1.png", "test/b/2.png"], ["train", "train/a", "test", "test/a"])


def test_validation_and_test_without_training():
    with pytest.raises(UserError, match="images in test and val, but in no folder for training"):
        arrange(["val/1.png", "test/2.png"])


def test_an_empty_folder_of_a_split_is_named():
    layout = arrange(["train/a/1.png", "train/b/2.png"], ["train", "val"])
    assert set(layout.splits.values()) == {"train"}
    assert reasons(layout, "empty folders") == [
        ("val", "they hold no image, and so count as nothing")
    ]


def test_a_known_class_is_not_looked_through():
    assert arrange(["cat/1.png", "cat/2.png"], known=("cat", "dog")).labels == {
        "cat/1.png": "cat",
        "cat/2.png": "cat",
    }


CLASSES = st.sets(st.sampled_from(["ant", "Bee", "cat", "10", "9", "élan", "test", "images"]))
DEPTHS = st.sampled_from(["", "x/", "deep/er/"])


@st.composite
def layouts(draw):
    """Files and folders with splits, and the classes that training images are in."""
    trained = draw(CLASSES.filter(lambda classes: len(classes) > 1))
    names, folders = [], []
    for split, classes in {
        draw(st.sampled_from(["train", "Training"])): trained,
        draw(st.sampled_from(["val", "VALID"])): draw(CLASSES),
        draw(st.sampled_from(["test", "testing"])): draw(CLASSES),
    }.items():
        for name in {*classes, min(trained)}:
            for number in range(draw(st.integers(1, 3))):
                names.append(f"{split}/{name}/{draw(DEPTHS)}{number}.png")
        folders += [split, *(f"{split}/{name}" for name in draw(CLASSES))]
    return sorted({*names}), folders, trained


def numbered(names, folders=()):
    """What `number_classes` makes of a layout: every split has a known class."""
    layout, said = arrange(names, folders), {}
    for name, split in layout.splits.items():
        if name not in layout.left_out:
            said.setdefault(split, {})[name] = layout.labels.get(name)
    return number_classes(said)


@given(layouts())
def test_only_training_images_decide_which_classes_there_are(example):
    names, folders, trained = example
    layout, classes = arrange(names, folders), numbered(names, folders)
    assert classes.names == tuple(sorted(trained))
    for name in names:
        split, label, *_ = name.split("/")
        assert layout.splits[name] == SPLITS[split.lower()]
        if label in trained:
            assert classes.names[classes.numbers[name]] == label
        else:
            assert name in classes.left_out
    alone = arrange([name for name in names if SPLITS[name.split("/")[0].lower()] == "train"])
    assert set(alone.labels.values()) == trained


@given(layouts(), st.sampled_from(["aaa", "zzz"]))
def test_an_empty_or_unknown_class_shifts_no_number(example, other):
    names, folders, _ = example
    before = numbered(names, folders)
    train = next(name.split("/")[0] for name in names if name.lower().startswith("tr"))
    after = numbered([*names, f"test/{other}/new.png"], [*folders, f"{train}/{other}"])
    assert after.names == before.names
    assert after.numbers == before.numbers
    assert f"test/{other}/new.png" in after.left_out
