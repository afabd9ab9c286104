import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.classes import number_classes
from visarch.errors import UserError

LABELS = st.dictionaries(st.text("abc", min_size=1), st.sampled_from(["x", "y", "z"]), min_size=1)


@given(LABELS, LABELS)
def test_every_number_names_the_label(train, test):
    if not set(test.values()) & set(train.values()):
        with pytest.raises(UserError, match="None of the test images"):
            number_classes({"train": train, "test": {f"t{n}": v for n, v in test.items()}})
        return
    said = {"train": train, "test": {f"t{name}": value for name, value in test.items()}}
    classes = number_classes(said)
    assert classes.names == tuple(sorted(set(train.values())))
    for own in said.values():
        for name, label in own.items():
            if label in classes.names:
                assert classes.names[classes.numbers[name]] == label
                assert name not in classes.left_out
            else:
                assert label in classes.left_out[name]
                assert name not in classes.numbers


def test_numbers_are_ordered_by_their_values_where_labels_may_be_numbers():
    said = {"": {"a": "10", "b": "9", "c": "-2"}}
    assert number_classes(said, by_value=True).names == ("-2", "9", "10")
    assert number_classes(said).names == ("-2", "10", "9")
    said[""]["d"] = "x"
    assert number_classes(said, by_value=True).names == ("-2", "10", "9", "x")
    assert number_classes({"": {"a": "01", "b": "1"}}, by_value=True).names == ("01", "1")


def test_listed_classes_keep_their_order_and_their_empty_ones():
    classes = number_classes({"": {"a": "x", "b": "w", "c": "x"}}, listed=["x", "y"])
    assert classes.names == ("x", "y")
    assert classes.numbers == {"a": 0, "c": 0}
    assert list(classes.left_out) == ["b"]
    assert ("classes without images", "y") in [reason[:2] for reason in classes.reasons]


def test_listed_classes_number_a_test_split_whose_training_images_have_no_labels():
    classes = number_classes({"train": {"a": None}, "test": {"b": "y"}}, listed=["x", "y"])
    assert classes.numbers == {"b": 1}


def test_labels_that_only_test_has_are_not_used():
    classes = number_classes({"train": {"a": None}, "test": {"b": "y"}})
    assert classes.names is None
    assert "the labels of test are not used" in classes.reasons[0][2]


def test_unlabelled_samples_among_labelled_ones_are_left_out():
    classes = number_classes({"train": {"a": "x", "b": None}, "test": {"c": None}})
    assert classes.left_out == {"b": "has no label, as others have"}
    assert ("labels", "none for test") in [reason[:2] for reason in classes.reasons]


def test_accents_are_the_same_however_a_file_system_spells_them():
    spelt = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    classes = number_classes({"train": {"a": spelt[0]}, "test": {"b": spelt[1]}})
    assert classes.numbers == {"a": 0, "b": 0}


def test_a_split_of_unknown_classes_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"Is 'Cat' meant to be 'cat'\?"):
        number_classes({"train": {"a": "cat"}, "test": {"b": "Cat"}})
