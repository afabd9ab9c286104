import errno
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from torch import nn

from visarch.errors import UserError
from visarch.training.config import TrainConfig
from visarch.training.runfolder import RunFolder, check_outside, new_run_path, read_config

from .test_checkpoint import files_no_larger_than
from .toy import settings


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    yield folder
    folder.close()


def config(data, name=None):
    return TrainConfig(data=data, name=name)


@pytest.mark.parametrize(
    ("data", "name", "label"),
    [
        ("digits", None, "vae-digits"),
        ("/pictures/My Flowers/", None, "vae-my-flowers"),
        ("scans.npz", None, "vae-scans"),
        ("hf:owner/name", None, "vae-name"),
        ("digits", "Große Tests", "große-tests"),
        ("digits", "../..", "vae"),
    ],
)
def test_new_runs_are_numbered_and_named(tmp_path, data, name, label):
    assert new_run_path(config(data, name), "vae", tmp_path).name == f"0001-{label}"
    assert new_run_path(config(data, name), "vae", tmp_path).name == f"0002-{label}"


def test_numbers_go_on_after_the_largest_whatever_else_is_there(tmp_path):
    for name in ("0041-old", "notes", "12345-long", "x-0099"):
        (tmp_path / name).mkdir()
    assert new_run_path(config("digits"), "vae", tmp_path).name.startswith("12346-")


def test_runs_begun_at_the_same_moment_get_numbers_of_their_own(tmp_path):
    names = [f"run{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: new_run_path(config("x", n), "vae", tmp_path), names))
    assert sorted(path.name[:4] for path in made) == [f"{n:04d}" for n in range(1, 25)]


def test_runs_lie_under_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new_run_path(config("digits"), "vae") == Path("runs/0001-vae-digits")


def test_a_second_command_is_refused_and_told_who_has_the_folder(folder):
    with pytest.raises(UserError) as error:
        RunFolder(folder.path)
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(error.value)
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        RunFolder(folder.path)  # the refused one has not wiped the name
    folder.close()
    RunFolder(folder.path).close()


def test_a_dead_process_does_not_keep_the_folder(tmp_path, start):
    process = start(_die_with_the_folder, tmp_path / "run")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    RunFolder(tmp_path / "run").close()


def _die_with_the_folder(path):
    folder = RunFolder(path)
    os.kill(os.getpid(), signal.SIGKILL)
    folder.close()


def test_other_peoples_folders_and_files_are_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="has other things in it"):
        RunFolder(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        RunFolder(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_config_file_reads_back(folder):
    folder.write_config(settings(folder.path), "toy")
    assert read_config(folder.path) == yaml.safe_load((folder.path / "config.yaml").read_text())
    assert read_config(folder.path)["task"] == "toy"


@pytest.mark.parametrize("text", ["- a list", "a: [", "just words"])
def test_a_config_file_that_is_none_is_refused(folder, text):
    (folder.path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_config(folder.path)


def test_what_is_wrong_with_a_config_file_is_said_in_a_line(folder):
    (folder.path / "config.yaml").write_text("task: vae\nsteps: [1, 2\nseed: 0\n")
    with pytest.raises(UserError) as error:
        read_config(folder.path)
    assert str(error.value).endswith(
        "config.yaml cannot be read as YAML: expected ',' or ']', but got ':' in line 3."
    )


def test_metrics_gain_columns_and_keep_their_rows(folder):
    folder.append_metrics({"step": 1, "loss": 0.5})
    folder.append_metrics({"step": 2, "loss": 0.25, "kl": 1 / 3})
    folder.append_metrics({"step": 3, "kl": float("nan")})
    assert (folder.path / "metrics.csv").read_text() == (
        "step,loss,kl\n1,0.5,\n2,0.25,0.333333333\n3,,nan\n"
    )


def test_a_second_row_of_a_step_is_merged_into_the_first(folder):
    folder.append_metrics({"step": 1, "loss": 0.5})
    folder.append_metrics({"step": 2, "loss": 0.25})
    folder.append_metrics({"step": 2, "validation/error": 2})
    assert folder.read_metrics() == [
        {"step": "1", "loss": "0.5"},
        {"step": "2", "loss": "0.25", "validation/error": "2"},
    ]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_crash_while_rows_are_merged_costs_neither(folder, monkeypatch, renamed):
    def crash(path):
        if path.is_dir() == renamed:  # the folder is synced after the file has its place
            raise KeyboardInterrupt

    folder.append_metrics({"step": 1, "loss": 0.5})
    monkeypatch.setattr("visarch.training.atomic._sync", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.append_metrics({"step": 1, "error": 2})
    after = {"error": "2"} if renamed else {}
    assert folder.read_metrics() == [{"step": "1", "loss": "0.5"} | after]


def test_metrics_are_truncated_to_a_step_and_go_on_from_there(folder):
    for step in range(1, 7):
        folder.append_metrics({"step": step, "loss": step / 2})
    before = (folder.path / "metrics.csv").read_text()
    with (folder.path / "metrics.csv").open("a") as file:
        file.write("7,3.")  # a crash in the middle of a row
    (folder.path / "config.yaml").write_text("task: vae\n")
    folder.close()

    again = RunFolder(folder.path)
    again.truncate_metrics(4)
    again.append_metrics({"step": 5, "loss": 2.5})
    again.append_metrics({"step": 6, "loss": 3.0})
    assert (folder.path / "metrics.csv").read_text() == before
    again.truncate_metrics(0)
    assert again.read_metrics() == []
    again.close()


class Savable(nn.Module):
    def save_pretrained(self, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"new")


def test_a_model_is_written_over_an_older_one(folder):
    folder.save_model(Savable(), {})
    (folder.model / "model.safetensors").write_bytes(b"old")
    folder.save_model(Savable(), {})
    assert (folder.model / "model.safetensors").read_bytes() == b"new"
    assert not list(folder.path.glob(".*.partial"))


def test_a_model_that_cannot_be_written_leaves_the_older_one(folder):
    class Broken(Savable):
        def save_pretrained(self, folder):
            super().save_pretrained(folder)
            raise OSError(28, "No space left on device")

    folder.save_model(Savable(), {})
    with pytest.raises(UserError, match=r"No space left.*is intact"):
        folder.save_model(Broken(), {})
    assert (folder.model / "model.safetensors").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_without_locks_is_owned_to(tmp_path, monkeypatch, number):
    def flock(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_locked
    folder.close()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_path(config("x"), "vae", tmp_path), range(16)))
    assert len(set(made)) == 16


def test_what_a_run_cannot_write_is_named(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.runs could not be written .*another place"):
        new_run_path(config("digits"), "vae", tmp_path / "file" / "runs")
    folder.append_metrics({"step": 1})
    full = pytest.raises(UserError, match=r"metrics\.csv could not be written .*is intact")
    with full, files_no_larger_than(4):
        folder.append_metrics({"step": 2})
    assert folder.is_locked


@pytest.mark.parametrize("name", ["config.yaml", ".lock", ".tmp-mine"])
def test_the_folder_of_another_program_is_left_alone(tmp_path, name):
    for file in (name, "notes"):
        (tmp_path / file).write_text("learning_rate: 3\n")
    with pytest.raises(UserError, match="has other things in it and is not a run folder"):
        RunFolder(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "notes"])
    assert (tmp_path / name).read_text() == "learning_rate: 3\n"


def test_a_run_that_was_killed_before_its_settings_is_taken_up(tmp_path):
    RunFolder(tmp_path).close()
    (tmp_path / ".config.yaml.77.partial").touch()
    RunFolder(tmp_path).close()


@pytest.mark.parametrize("out", [None, "runs/x", "../photos/x", "linked/x"])
def test_a_run_does_not_lie_among_its_images(tmp_path, monkeypatch, out):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    with pytest.raises(UserError, match=r"would lie in .*photos.*, inside --data \."):
        check_outside(TrainConfig(data=".", out=out))
    check_outside(TrainConfig(data=".", out="../photos-run"))
    check_outside(TrainConfig(data="digits"))


@pytest.mark.parametrize("row", ["abc,3", ",3", "-1,3", "1.5,3"])
def test_a_row_of_metrics_without_a_step_is_named(folder, row):
    (folder.path / "metrics.csv").write_text(f"step,loss\n1,0.5\n{row}\n")
    with pytest.raises(UserError, match=r"metrics\.csv has a row whose step is .*mend that row"):
        folder.truncate_metrics(2)
    assert (folder.path / "metrics.csv").read_text() == f"step,loss\n1,0.5\n{row}\n"
