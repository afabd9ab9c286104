import threading

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.data.memory import DoesNotFit
from visarch.data.reading import choose_size, decode, read_pictures

from .pictures import noise, save

SIZES = st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=9)


def test_one_size_up_to_256_is_kept():
    assert choose_size([(24, 30)] * 3) == ((24, 30), "all images have this size")
    assert choose_size([(256, 100)])[0] == (256, 100)
    assert choose_size([(257, 100)])[0] == (64, 64)


def test_the_size_of_most_images_is_kept():
    size, why = choose_size([(28, 28)] * 6 + [(30, 30), (400, 300)])
    assert size == (28, 28)
    assert why.startswith("6 of 8 images have this size")
    assert choose_size([(28, 28)] * 5 + [(30, 30), (400, 300)])[0] == (24, 24)


def test_other_sizes_become_a_square():
    size, why = choose_size([(50, 70), (61, 45), (300, 40)])
    assert size == (40, 40)
    assert "from 61×45 to 300×40" in why
    assert "--image-size" not in why
    size, why = choose_size([(3000, 4000), (3000, 2000), (400, 300)])
    assert size == (64, 64)
    assert "--image-size 128" in why
    assert choose_size([(5, 9), (3, 4), (2, 2)])[0] == (8, 8)


@given(SIZES, st.randoms())
def test_the_choice_does_not_depend_on_the_order(sizes, random):
    assert choose_size(random.sample(sizes, len(sizes))) == choose_size(sizes)


@given(SIZES)
def test_a_chosen_square_is_a_multiple_of_8(sizes):
    size, _ = choose_size(sizes)
    assert size in sizes or (size[0] == size[1] and size[0] in range(8, 65, 8))


def test_pictures_keep_their_names_and_order_whatever_the_threads(tmp_path):
    files = {
        f"{number}.png": save(tmp_path / f"{number}.png", noise(channels=1, seed=number))
        for number in range(40)
    }
    seen = []
    before = threading.active_count()
    pictures, failed = read_pictures(files, progress=lambda done, total: seen.append((done, total)))
    assert threading.active_count() == before
    assert failed == {}
    assert list(pictures) == list(files)
    for number, picture in enumerate(pictures.values()):
        np.testing.assert_array_equal(picture.values[0], noise(channels=1, seed=number))
    assert seen == [(done, 40) for done in range(1, 41)]


def test_damaged_files_have_no_say_in_the_size(tmp_path):
    files = {"a.png": save(tmp_path / "a.png", noise(20, 20))}
    for name in ("big.png", "bigger.png"):
        files[name] = save(tmp_path / name, noise(100, 100))
        files[name].write_bytes(files[name].read_bytes()[:5000])
    pictures, failed = read_pictures(files)
    assert pictures["a.png"].values.shape == (3, 20, 20)
    assert list(failed) == ["big.png", "bigger.png"]
    assert all("truncated" in why for why in failed.values())


def test_nothing_readable_is_no_error_here(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    assert read_pictures({}) == ({}, {})
    pictures, failed = read_pictures({"x.png": tmp_path / "x.png"})
    assert pictures == {}
    assert failed == {"x.png": "is no image: it holds text"}


def test_more_than_the_memory_holds_is_refused_beforehand(tmp_path, monkeypatch):
    class Memory:
        available = 1000

    files = {"x.png": save(tmp_path / "x.png")}
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(DoesNotFit):
        read_pictures(files)
    assert read_pictures(files, (8, 8))[0]
    assert decode(files, (12, 16))[0]


def test_an_interrupt_leaves_no_threads_behind(tmp_path):
    files = {str(number): save(tmp_path / f"{number}.png") for number in range(30)}
    before = threading.active_count()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_pictures(files, (8, 8), interrupt)
    assert threading.active_count() == before
