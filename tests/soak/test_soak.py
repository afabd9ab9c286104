"""A short version of each part of the soak, on one task each: all of it is `make soak`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .commands import Start, forkserver, images
from .disks import PAGE, NoMount, Sufferer
from .groups import (
    Group,
    NoNetworks,
    goes_on,
    on_two_machines,
    one_is_killed,
    refuses_other_data,
)
from .kills import Victim, two_at_once
from .lengths import long_run


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    with forkserver() as start:
        yield start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests, as are the runs that nothing happens to."""
    return tmp_path_factory.mktemp("soak")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return images(folder / "images.npz")


@pytest.mark.parametrize(("task", "deeds"), [("vae", (70,)), ("classifier", (4, 33))])
def test_killed_before_it_does_something_to_its_folder(start, folder, data, task, deeds):
    victim = Victim(start, folder, data, task)
    victim.at_every(deeds)
    assert sum(victim.kills.values()) == len(deeds)


def test_killed_at_random(start, folder, data):
    victim = Victim(start, folder, data, "diffusion")
    victim.at_random(seed=1, kills=6)
    assert victim.number > 1  # at least one run has come to its end, and is what it should be


def test_two_commands_on_one_folder(start, folder, data):
    assert "Wait until it has finished" in two_at_once(start, folder, data)


def test_a_full_disk_is_told_and_outlived(start, folder, data):
    sizes = [3 * PAGE, 30 * PAGE]
    try:
        assert Sufferer(start, folder, data, "classifier").full(sizes) == len(sizes)
    except NoMount as error:
        pytest.skip(str(error))


def test_a_disk_that_refuses_is_told_and_outlived(start, folder, data):
    deeds = (1, 60)
    assert Sufferer(start, folder, data, "classifier").refusing(deeds, within=4000) == len(deeds)


def test_a_disk_that_cannot_be_written_is_told_and_outlived(start, folder, data):
    try:
        told = Sufferer(start, folder, data, "classifier").read_only()
    except NoMount as error:
        pytest.skip(str(error))
    assert "go on with the same command" in told


def test_too_little_memory_is_told_and_outlived(start, folder, data):
    seen = Sufferer(start, folder, data, "classifier").short_of_memory([1 << 20])
    assert "enough" not in seen


def test_one_of_several_processes_is_killed(start, folder, data):
    one_is_killed(Group(start, folder, 2), "vae", data, folder / "killed")
    goes_on(start, folder, "vae", data, folder / "killed", 4)


def test_a_process_with_other_images_keeps_all_from_beginning(start, folder, data):
    refuses_other_data(start, folder, "vae", data)


def test_two_machines(start, folder, data):
    try:
        seen = on_two_machines(start, folder, data, "diffusion")
    except NoNetworks as error:
        pytest.skip(str(error))
    assert seen["difference of 2"] < 1e-5


def test_a_longer_run_stays_as_it_is(start, folder, data):
    seen = long_run(start, folder, data, "classifier", 600)
    assert seen["checkpoints"] == 2
    assert seen["memory_grows_percent"] < 5
    assert seen["log_bytes_per_row"] < 200
