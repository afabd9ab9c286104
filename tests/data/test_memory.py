import psutil
import pytest

from visarch.data.memory import DoesNotFit, disk_limit, gibibytes, memory_limit, require_memory
from visarch.errors import UserError


class Memory:
    available = 2**31


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    for name in ("VISARCH_DATA_MEMORY", "VISARCH_DATA_DISK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_half_of_what_is_free_is_shared_by_the_processes(monkeypatch):
    assert memory_limit() == 2**30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_limit() == 2**28


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("100", 100), ("2K", 2048), ("1.5M", 3 * 2**19), ("8g", 2**33), ("1 TiB", 2**40)],
)
def test_a_variable_decides_instead(monkeypatch, tmp_path, text, size):
    monkeypatch.setenv("VISARCH_DATA_MEMORY", text)
    monkeypatch.setenv("VISARCH_DATA_DISK", text)
    assert memory_limit() == size
    assert disk_limit(tmp_path) == size


def test_what_is_no_size_is_refused(monkeypatch):
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "much")
    with pytest.raises(UserError, match="VISARCH_DATA_MEMORY is 'much'; give a size, as in 8G"):
        memory_limit()


def test_more_than_may_be_taken(monkeypatch):
    require_memory(2**30)
    with pytest.raises(DoesNotFit, match=r"2.0 GiB would be needed, and 1.0 GiB may be taken"):
        require_memory(2**31)


def test_a_disk_has_room_for_a_place_that_is_not_there_yet(tmp_path):
    assert disk_limit(tmp_path / "a" / "b") > 0


def test_sizes_as_they_are_printed():
    assert gibibytes(3 * 2**30) == "3.0 GiB"
    assert gibibytes(5 * 2**20) == "5.0 MiB"
