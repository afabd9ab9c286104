import os

import numpy as np
import pytest

from visarch.data import Preparation, load_images, open_data
from visarch.errors import UserError

from .pictures import noise, save


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "Flowers/red", "runs"):
        os.makedirs(name)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        ("photo", "'photos'"),
        ("PHOTOS", "'photos'"),
        ("flowers/red", "'Flowers'"),
        ("Flowers/rde", "'Flowers/red'"),
        ("digit", "'digits'"),
        ("DIGITS", "'digits'"),
    ],
)
def test_a_missing_path_is_answered_with_the_nearest(here, asked, suggested):
    with pytest.raises(UserError, match=f"There is no {asked!r}. Did you mean {suggested}?"):
        open_data(asked)


def test_a_missing_path_without_likeness_names_what_there_is(here):
    with pytest.raises(UserError, match=r"the current directory, /.* which holds Flowers, photos,"):
        open_data("nowhere/at/all")
    with pytest.raises(UserError, match=r"place that exists is Flowers which holds red.") as error:
        open_data("Flowers/x")
    assert "Did you mean" not in str(error.value)
    with pytest.raises(UserError, match="exists is photos which holds nothing"):
        open_data(str(here / "photos" / "x")[len(str(here)) + 1 :])


def test_a_path_below_a_file(here):
    save(here / "photos" / "x.png")
    with pytest.raises(UserError, match=r"Did you mean 'photos/x.png'"):
        open_data("photos/x.png/y")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.png", "is a single image; give the folder that holds it: ."),
        ("x.txt", "is a file that cannot be read as data; give 'digits', a folder of images"),
    ],
)
def test_other_files_are_answered(here, name, message):
    (here / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        open_data(name)


def test_an_empty_name(here):
    with pytest.raises(UserError, match="--data is empty"):
        open_data("")


def test_a_folder_called_digits_needs_its_path(here):
    save(here / "digits" / "x.png")
    digits = open_data("digits")
    assert digits.kind == "digits"
    assert ("source", "the embedded digits", "./digits is the one here") in digits.reasons
    assert open_data("./digits").kind == "folder"


def test_the_home_folder_may_be_a_tilde(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    save(here / "photos" / "x.png")
    np.savez(here / "a.npz", images=noise(channels=1)[None])
    assert open_data("~/photos").source == "~/photos"
    assert open_data(here / "photos").source == str(here / "photos")
    assert open_data("~/a.npz").kind == "array"


def test_like_excludes_what_it_decides():
    with pytest.raises(ValueError, match="image_size=32 and channels=None contradict like="):
        open_data("digits", like=Preparation((1, 28, 28), 256), image_size=32)


def test_images_are_no_data_for_a_model_of_signals(here):
    like = Preparation((1, 100), 256)
    for data in ("digits", "photos"):
        with pytest.raises(UserError, match=f"trained on 1-d data and {data!r} holds images"):
            open_data(data, like=like)
    with pytest.raises(UserError, match="works on 1-d data"):
        load_images([save(here / "x.png")], like)


def test_image_files_that_cannot_be_used_are_named(here):
    like = Preparation((3, 8, 8), 256)
    save(here / "photos" / "x.png")
    (here / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"There is no 'photos/y.png'. Did you mean 'photos/x.png'"):
        load_images(["photos/x.png", "photos/y.png"], like)
    with pytest.raises(UserError, match=r"'empty.png' is empty \(0 bytes\)."):
        load_images(["empty.png"], like)
    with pytest.raises(UserError, match="'photos' cannot be opened: is a directory"):
        load_images(["photos"], like)
    assert load_images(["photos/x.png"], like).images.shape == (1, 3, 8, 8)


def test_what_is_missing_is_said_before_what_would_not_fit(here):
    for data in ("x.npz", "nowhere"):
        with pytest.raises(UserError, match=f"There is no {data!r}"):
            open_data(data, channels=5)


def test_every_kind_of_data_says_which_it_is(here):
    save(here / "photos" / "x.png")
    (here / "photos" / "labels.csv").write_text("file,label\nx.png,a\n")
    assert open_data("photos").kind == open_data("photos/labels.csv").kind == "csv"
    assert open_data("digits").kind == "digits"
