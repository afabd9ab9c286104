import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.splitting import hold_out, place, split_by_name

NAMES = st.lists(st.text("abcdé/", min_size=1, max_size=4), min_size=1, max_size=30, unique=True)


@given(NAMES)
def test_every_sample_is_on_one_side_and_none_is_empty(names):
    train, validation = split_by_name(names)
    assert train
    assert validation
    assert train == sorted(train)
    assert validation == sorted(validation)
    if len(names) > 1:
        assert sorted(train + validation) == list(range(len(names)))
    else:
        assert train == validation == [0]


@given(NAMES, st.randoms())
def test_the_order_of_the_names_does_not_matter(names, random):
    shuffled = random.sample(names, len(names))
    held_out = {names[position] for position in split_by_name(names)[1]}
    assert {shuffled[position] for position in split_by_name(shuffled)[1]} == held_out


def test_adding_samples_moves_none():
    names = [f"{number}.png" for number in range(400)]
    before = {names[position] for position in split_by_name(names[:200])[1]}
    after = {names[position] for position in split_by_name(names)[1]}
    assert before == after & set(names[:200])


def test_about_a_tenth_is_held_out():
    assert len(split_by_name([f"{number}.png" for number in range(2000)])[1]) == pytest.approx(
        200, abs=40
    )


@given(NAMES, st.data())
def test_every_class_keeps_a_training_sample_where_one_can_be_spared(names, data):
    classes = data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names)))
    train, validation = split_by_name(names, classes)
    trained = {classes[position] for position in train}
    if len(set(classes)) < len(names):
        assert trained == set(classes)
    elif len(names) > 1:  # one sample in each class: something must be validated on
        assert len(validation) == 1


def test_accents_are_the_same_however_a_file_system_spells_them():
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert place(composed) == place(decomposed)


def test_places_are_fixed_for_all_time():
    assert place("images[0]") == pytest.approx(0.89859601, abs=1e-8)


def test_nothing_cannot_be_split():
    with pytest.raises(ValueError, match="at least 1"):
        split_by_name([])


def test_the_reason_counts_both_sides():
    names = [f"{number}.png" for number in range(50)]
    train, validation, (what, value, _) = hold_out(names, [number % 7 for number in range(50)])
    assert (train, validation) == split_by_name(names, [number % 7 for number in range(50)])
    assert what == "split"
    assert value == f"{len(train)} train, {len(validation)} validation"


def test_a_single_sample_is_both_trained_and_validated_on():
    train, validation, (_, _, why) = hold_out(["only.png"])
    assert train == validation == [0]
    assert "single sample" in why
