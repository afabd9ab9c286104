"""A folder full of hostile files: each bad one named, each good one used, and none of them touched.

The full number of them is tried by `tests/soak/input_data.py`.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.training.trainer import Trainer

from .commands import TRAINING, refused, train, typed, write_images
from .corpus import Fate, state, write_corpus

Told = dict[str, tuple[str, Fate]]


def wrongly_treated(told: Told, used: set[str], named: set[str]) -> list[str]:
    """The files that were not treated as they should be."""
    wrong = [f"{name!r} is neither used nor named" for name in told.keys() - used - named]
    wrong += [f"{name!r} is used and named" for name in used & named]
    for name, (what, fate) in told.items():
        if fate is not Fate.EITHER and (name in used) is not (fate is Fate.USED):
            wrong.append(f"{name!r} ({what}) should be {fate.value}")
    return wrong


def named_by_check(root: Path) -> set[str]:
    code, said = typed("check", root, "--json")
    assert code == 1
    report = json.loads(said)
    findings = [*report["problems"], *report["remarks"]]
    entries = [f["entries"] for f in findings if f["what"] in ("cannot be used", "left out")]
    return {name for own in entries for name, _ in own}


def used_and_named_by(run: Path) -> tuple[set[str], set[str]]:
    data = json.loads((run / "data.json").read_text("utf-8"))
    used = {name for split in data["splits"].values() for name in split["names"]}
    return used, {entry["name"] for entry in data["skipped"]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    root = tmp_path_factory.mktemp("corpus") / "photos"
    return root, write_corpus(root, 150, seed=1)


def test_check_names_each_bad_file_and_uses_each_good_one(corpus):
    root, told = corpus
    before = state(root)
    named = named_by_check(root)
    assert wrongly_treated(told, told.keys() - named, named) == []
    assert state(root) == before


@pytest.mark.parametrize("task", TRAINING)
def test_training_uses_what_check_has_nothing_against(task: str, corpus, tmp_path):
    root, told = corpus
    before = state(root)
    code, said = train(task, root, tmp_path / "run")
    assert code == 0, said
    used, named = used_and_named_by(tmp_path / "run")
    assert wrongly_treated(told, used, named) == []
    assert named == named_by_check(root)
    assert state(root) == before


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for number in range(24):
        path = root / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


@pytest.mark.parametrize("held", ["in memory", "on disk"])
def test_files_that_vanish_during_training(held: str, photos, tmp_path, monkeypatch):
    if held == "on disk":
        monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    step = Trainer.step

    def step_and_remove(trainer: Trainer) -> dict[str, float]:
        if trainer.num_steps == 1:
            shutil.rmtree(photos)
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", step_and_remove)
    code, said = train("vae", photos, tmp_path / "run", "--steps", "30")
    assert "Traceback" not in said
    if held == "in memory":
        assert code == 0
    else:
        assert code == 2
        assert "cannot be opened: no such file or directory" in said
        assert str(photos) in said


@pytest.mark.parametrize("change", ["taken away", "added", "altered", "moved to another class"])
def test_a_folder_that_changes_before_a_run_goes_on(change: str, photos, tmp_path):
    out = tmp_path / "run"
    assert train("classifier", photos, out)[0] == 0
    before = (out / "checkpoints" / "last.safetensors").read_bytes()
    if change == "taken away":
        (photos / "cat" / "2.png").unlink()
    elif change == "added":
        shutil.copy(photos / "cat" / "2.png", photos / "cat" / "99.png")
    elif change == "altered":
        shutil.copy(photos / "cat" / "2.png", photos / "cat" / "4.png")
    else:
        (photos / "cat" / "2.png").rename(photos / "dog" / "2.png")
    answer = refused("train", "--resume", out, "--steps", "4")
    assert "was begun on other images" in answer
    assert (out / "checkpoints" / "last.safetensors").read_bytes() == before


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays_of_objects_are_refused_and_not_unpickled(suffix: str, tmp_path):
    objects = np.array([Payload(tmp_path / "trace")] * 3, dtype=object)
    path = tmp_path / f"data{suffix}"
    if suffix == ".npz":
        np.savez(path, images=objects, labels=np.zeros(3))
    else:
        np.save(path, objects)
    for arguments in (["check", path], ["train", "vae", "--data", path, "--out", tmp_path / "run"]):
        assert str(path) in refused(*arguments)
    assert not (tmp_path / "trace").exists()


def test_pickles_that_are_called_like_data_are_not_unpickled(tmp_path):
    for suffix in (".npz", ".npy", ".parquet", ".csv"):
        path = tmp_path / f"data{suffix}"
        path.write_bytes(pickle.dumps(Payload(tmp_path / "trace")))
        assert "data" in refused("check", path)
    assert not (tmp_path / "trace").exists()


def test_tables_that_lack_what_they_should_have(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    numbers = tmp_path / "numbers.parquet"
    parquet.write_table(pyarrow.table({"height": [1, 2], "label": [0, 1]}), numbers)
    assert "height" in refused("check", numbers)
    listed = tmp_path / "labels.csv"
    listed.write_text("file,label\nnowhere.png,cat\nnor here.png,dog\n")
    for command in (["check", listed], ["train", "vae", "--data", listed, "--out", "run"]):
        assert "nowhere.png" in refused(*command)
    Image.new("L", (8, 8)).save(tmp_path / "here.png")
    listed.write_text("file,label\nnowhere.png,cat\nhere.png,dog\n")
    assert "nowhere.png" in named_by_check(listed)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("task", ["vae", "diffusion"])
def test_one_image_and_a_batch_larger_than_the_data(task: str, count: int, tmp_path):
    data = write_images(tmp_path / "few.npz", count)
    code, said = train(task, data, tmp_path / "run", "--batch-size", "16")
    assert code == 0, said


def test_no_rest_of_one_image_is_left_for_the_last_statistics(tmp_path):
    data, flags = write_images(tmp_path / "odd.npz", 8), ("--widths", "4", "4", "4", "4")
    flags = (*flags, "--depths", "1", "1", "1", "1", "--batch-size", "2")
    code, said = train("classifier", data, tmp_path / "run", *flags)
    assert "7 train, 1 validation" in said
    assert code == 0, said
