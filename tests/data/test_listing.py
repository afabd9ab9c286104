import os

import pytest

from visarch.data.listing import list_images


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_images_at_any_depth_in_the_order_of_their_paths(tmp_path):
    names = ["b/x.png", "a.JPG", "a/b/c.WebP", "a/z.Tiff", "a-b/x.gif", "ä.bmp", "10.png", "9.png"]
    for name in names:
        touch(tmp_path / name)
    listing = list_images(tmp_path)
    assert list(listing.images) == sorted(names)
    assert all(path == tmp_path / name for name, path in listing.images.items())
    assert listing.skipped == []


def test_other_files_are_counted_and_hidden_ones_passed_over(tmp_path):
    for name in ["notes.txt", "a/B.TXT", "a/labels.csv", "README", "x.png"]:
        touch(tmp_path / name)
    for name in [".x.png", "._x.png", ".git/x.png", "__MACOSX/x.png", "a/.DS_Store"]:
        touch(tmp_path / name)
    listing = list_images(tmp_path)
    assert list(listing.images) == ["x.png"]
    assert listing.describe_others() == "2 .txt, 1 without suffix, 1 .csv"


def test_a_hidden_folder_can_be_given_itself(tmp_path):
    touch(tmp_path / ".cache" / "x.png")
    assert list(list_images(tmp_path / ".cache").images) == ["x.png"]


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / "elsewhere" / "x.png")
    root = tmp_path / "root"
    touch(root / "real" / "y.png")
    (root / "real" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "outside").symlink_to(tmp_path / "elsewhere")
    (root / "z.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (root / "gone.png").symlink_to(tmp_path / "gone.png")
    listing = list_images(root)
    assert list(listing.images) == ["outside/x.png", "real/y.png", "z.png"]
    assert listing.skipped == [
        ("gone.png", "is a broken link"),
        ("real/up", "is a link to a folder read already"),
    ]


def test_the_way_without_a_link_counts(tmp_path):
    touch(tmp_path / "z" / "x.png")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    listing = list_images(tmp_path)
    assert list(listing.images) == ["z/x.png"]
    assert [name for name, _ in listing.skipped] == ["a"]


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    touch(tmp_path / "folder.png" / "x.png")
    listing = list_images(tmp_path)
    assert list(listing.images) == ["folder.png/x.png"]
    assert listing.skipped == [("pipe.png", "is no regular file")]


def test_a_folder_that_cannot_be_read_is_listed(tmp_path, monkeypatch):
    touch(tmp_path / "open" / "x.png")
    touch(tmp_path / "locked" / "y.png")
    scandir = os.scandir

    def refuse(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_images(tmp_path)
    assert list(listing.images) == ["open/x.png"]
    assert listing.skipped == [("locked", "is a folder that cannot be read: permission denied")]


def test_names_that_are_no_text_stay_apart(tmp_path):
    try:
        for byte in (b"\xff", b"\xfe"):
            with open(os.fsencode(tmp_path) + b"/" + byte + b".png", "wb") as file:
                file.write(b"x")
    except OSError:
        pytest.skip("this file system takes only text for names")
    listing = list_images(tmp_path)
    assert list(listing.images) == [r"\xfe.png", r"\xff.png"]
    assert all(path.read_bytes() == b"x" for path in listing.images.values())
    assert "".join(listing.images).encode()  # they can be printed
