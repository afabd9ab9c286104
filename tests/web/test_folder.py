"""The page's folder holds the latest files, and no more than there is room for."""

from __future__ import annotations

import os
import time
from pathlib import Path

from visarch.web.folder import KEPT, clear


def fill(folder: Path) -> None:
    """Ten files of 100 bytes, each in a folder of its own, the first one the oldest."""
    for number in range(10):
        path = folder / f"f{number}" / f"{number}.png"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        changed = time.time() - 100 + number
        os.utime(path, (changed, changed))


def left(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.png"))


def test_where_there_is_room_nothing_goes(tmp_path: Path):
    fill(tmp_path)
    clear(tmp_path, 1000, 10)
    assert len(left(tmp_path)) == 10


def test_the_oldest_go_first(tmp_path: Path):
    fill(tmp_path)
    clear(tmp_path, 399, 10)
    assert left(tmp_path) == ["7", "8", "9"]
    clear(tmp_path, 1000, 2)
    assert left(tmp_path) == ["8", "9"]


def test_what_has_been_kept_long_enough_goes(tmp_path: Path):
    fill(tmp_path)
    for number in (2, 5):
        os.utime(tmp_path / f"f{number}" / f"{number}.png", (0, time.time() - KEPT - 1))
    clear(tmp_path)
    assert left(tmp_path) == ["0", "1", "3", "4", "6", "7", "8", "9"]


def test_what_pytorch_keeps_there_stays(tmp_path: Path):
    kept = tmp_path / "torchinductor_me" / "empty"
    kept.mkdir(parents=True)
    (kept.parent / "kernel.so").write_bytes(bytes(100))
    for path in (kept, kept.parent):
        os.utime(path, (1000, 1000))
    clear(tmp_path, 0, 0)
    assert sorted(path.name for path in kept.parent.iterdir()) == ["empty", "kernel.so"]


def test_folders_that_have_long_been_empty_go_too(tmp_path: Path):
    fill(tmp_path)
    clear(tmp_path, 150, 10)
    assert len(list(tmp_path.iterdir())) == 10  # one of them may be about to be filled
    for folder in tmp_path.iterdir():
        os.utime(folder, (1000, 1000))
    os.utime(tmp_path, (1000, 1000))
    clear(tmp_path, 150, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["f9"]
    clear(tmp_path, 0, 0)
    os.utime(tmp_path / "f9", (1000, 1000))
    clear(tmp_path)
    assert tmp_path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "outside").write_bytes(bytes(1000))
    (tmp_path / "own" / "link").symlink_to(tmp_path / "outside")
    clear(tmp_path / "own", 0, 0)
    assert (tmp_path / "outside").stat().st_size == 1000
    assert not os.path.lexists(tmp_path / "own" / "link")
