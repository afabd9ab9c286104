"""Run and model folders as hands, disks and other versions leave them: answered, never believed.

More of the damages are tried by `tests/soak/input_files.py`.
"""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from .commands import TRAINING, inside, refused, typed
from .test_data import Payload

pytestmark = pytest.mark.usefixtures("as_for_users")  # types are checked in tests alone

LAST = Path("checkpoints") / "last.safetensors"
WEIGHTS = Path("model") / "model.safetensors"
USING = {
    "vae": ["sample", "evaluate", "reconstruct", "embed", "describe"],
    "classifier": ["predict", "evaluate", "embed", "describe"],
    "diffusion": ["sample", "evaluate", "describe"],
}
"""Verbs that open a run of each task and need no more than that."""


def truncated(content: bytes) -> Iterator[bytes]:
    """A file cut off at every hundredth of its length."""
    return (content[: len(content) * percent // 100] for percent in range(100))


def flipped(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """A file in which one bit is another, at so many places."""
    chosen = random.Random(seed)
    for _ in range(count):
        altered = bytearray(content)
        altered[chosen.randrange(len(altered))] ^= 1 << chosen.randrange(8)
        yield bytes(altered)


@pytest.mark.parametrize("task", TRAINING)
def test_a_checkpoint_cut_off_anywhere_is_refused_and_stays_as_it_is(task: str, runs):
    last = runs / task / LAST
    for content in list(truncated(last.read_bytes()))[::20]:
        last.write_bytes(content)
        answer = refused("train", "--resume", runs / task, "--steps", "4")
        assert "last.safetensors is not a whole checkpoint" in answer
        assert "best.safetensors beside it" in answer
        assert last.read_bytes() == content


def test_a_flipped_bit_in_a_checkpoint_is_noticed(runs):
    last = runs / "vae" / LAST
    before = last.read_bytes()
    for content in flipped(before, 6):
        last.write_bytes(content)
        assert "last.safetensors" in refused("train", "--resume", runs / "vae", "--steps", "4")
        assert last.read_bytes() == content


@pytest.mark.parametrize("task", TRAINING)
def test_damaged_weights_are_refused_by_every_verb(task: str, runs):
    weights = runs / task / WEIGHTS
    before = weights.read_bytes()
    size = int.from_bytes(before[:8], "little")
    altered = bytearray(before)
    altered[(8 + size + len(before)) // 2] ^= 64
    for content in (before[: len(before) // 2], bytes(altered), b""):
        weights.write_bytes(content)
        for verb in USING[task]:
            assert "cannot be opened" in refused(verb, runs / task)


def test_checkpoints_of_another_task_are_refused(runs):
    for task, other in zip(TRAINING, [*TRAINING][1:] + [*TRAINING][:1], strict=True):
        shutil.copy(runs / other / LAST, runs / task / LAST)
        refused("train", "--resume", runs / task, "--steps", "4")
    contents = {task: (runs / task / WEIGHTS).read_bytes() for task in TRAINING}
    for task, other in zip(TRAINING, [*TRAINING][1:] + [*TRAINING][:1], strict=True):
        (runs / task / WEIGHTS).write_bytes(contents[other])
        assert "cannot be opened" in refused("describe", runs / task)


def test_pickles_that_are_called_like_weights_are_not_unpickled(runs):
    trace = runs / "trace"
    bad = pickle.dumps(Payload(trace))
    for path in (runs / "vae" / LAST, runs / "vae" / WEIGHTS):
        path.write_bytes(bad)
    torch.save({"x": Payload(trace)}, runs / "vae" / "model" / "pytorch_model.bin")
    refused("train", "--resume", runs / "vae", "--steps", "4")
    refused("sample", runs / "vae")
    (runs / "vae" / WEIGHTS).unlink()
    refused("sample", runs / "vae")
    assert not trace.exists()


def test_settings_that_would_run_code_are_not_run(runs):
    trace = runs / "trace"
    config = runs / "vae" / "config.yaml"
    config.write_text(f"task: vae\ndata: !!python/object/apply:os.mkdir [{trace}]\n")
    assert "config.yaml cannot be read as YAML" in refused("train", "--resume", runs / "vae")
    assert not trace.exists()


ODD = (
    None,
    True,
    -1,
    0,
    10**30,
    float("nan"),
    "",
    "é",
    [],
    {},
    [1, None],
    {"a": 1},
    "1e-4",
    ".inf",
)


ENDLESS = ("without steps", "steps: None")
"""Edits that ask for a training of the usual length."""


def with_one_changed(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A mapping, however deep, with each of its values made odd, lacking it, and with one more."""
    for key, value in content.items():
        yield f"without {key}", {name: own for name, own in content.items() if name != key}
        for odd in ODD:
            yield f"{key}: {odd!r}", {**content, key: odd}
        if isinstance(value, dict):
            for what, inner in with_one_changed(value):
                yield f"{key}.{what}", {**content, key: inner}
    yield "with one more", {**content, "invented_later": 1}


def edited(
    path: Path, read: Callable[[str], Any], write: Callable[[Any], str], share: float = 1.0
) -> Iterator[str]:
    """Edit a file in every way of `with_one_changed`, or in a share of them; give what was done."""
    before = path.read_text("utf-8")
    chosen = random.Random(0)
    for what, content in with_one_changed(read(before)):
        if chosen.random() < share:
            path.write_text(write(content), "utf-8")
            yield what
    path.write_text(before, "utf-8")


def answered(*arguments: object) -> int:
    """The exit code of a command that may work or be refused, but not break."""
    code, said = typed(*arguments)
    assert code in (0, 2), said
    assert "Traceback" not in said
    return code


@pytest.mark.parametrize("task", TRAINING)
def test_an_edited_config_is_refused_or_does_no_harm(task: str, runs):
    run = runs / task
    before = (run / LAST).read_bytes()
    for what in edited(run / "config.yaml", yaml.safe_load, yaml.safe_dump, share=0.02):
        if what not in ENDLESS:  # it is finished: there is nothing to be done
            answered("train", "--resume", run)
        assert (run / LAST).read_bytes() == before, what
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "invented_later: 1\n")
    assert "invented_later" in refused("train", "--resume", run)


@pytest.mark.parametrize("task", TRAINING)
@pytest.mark.parametrize("name", ["model/config.json", "model/task.json", "data.json"])
def test_an_edited_description_is_refused_or_does_no_harm(name: str, task: str, runs):
    for _ in edited(runs / task / name, json.loads, json.dumps, share=0.02):
        answered(USING[task][0], runs / task)
    assert answered(USING[task][0], runs / task) == 0


def test_a_model_from_the_future_is_refused(runs):
    for task in TRAINING:
        path = runs / task / "model" / "config.json"
        config = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(config | {"invented_later": 1}))
        assert "invented_later" in refused("describe", runs / task)
        path.write_text(json.dumps(config | {"architecture": "Mamba"}))
        assert "Mamba" in refused("describe", runs / task)


@pytest.mark.parametrize(
    ("task", "name", "change"),
    [
        ("vae", "data.json", {"vectors": True}),
        ("classifier", "data.json", {"preparation": {"shape": [], "levels": 256}}),
        ("classifier", "data.json", {"classes": "ab"}),
        ("classifier", "data.json", {"classes": ["only one"]}),
        ("diffusion", "data.json", {"preparation": {"shape": [1, 8, 8], "levels": "many"}}),
        ("diffusion", "model/config.json", {"unet": 1}),
        ("diffusion", "model/task.json", {"settings": {"steps": 2}}),
    ],
)
def test_descriptions_that_cannot_be_meant_are_refused(task: str, name: str, change, runs):
    path = runs / task / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change))
    image = [str(runs / "image.png")] if task == "classifier" else []
    refused(USING[task][0], runs / task, *image)


def test_a_network_without_end_is_refused(runs):
    path = runs / "vae" / "model" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for setting, value, answer in (
        ("depth", 10**30, "at most 1000"),
        ("patch_size", True, "must be a whole number"),
    ):
        path.write_text(json.dumps(config | {setting: value}))
        assert answer in refused("describe", runs / "vae")


def test_a_checkpoint_from_the_future_is_refused(runs):
    header = json.dumps({"format": 99, "versions": {"visarch": "99.0"}})
    save_file({"x": torch.zeros(1)}, runs / "vae" / LAST, metadata={"visarch": header})
    assert "written by visarch 99.0" in refused("train", "--resume", runs / "vae", "--steps", "4")


@pytest.mark.parametrize(
    "command",
    [
        "sample vae --out mine.png",
        "sample vae --out mine --separate",
        "sample vae --separate --out mine.d.png",
        "sample diffusion --film -n 1 --out film.png",
        "reconstruct vae image.png --out image.png",
        "interpolate vae image.png image.png --out image.png",
        "embed vae images.npz --out images.npz",
        "predict classifier images.npz --out mine.csv",
        "report vae classifier --out mine.html",
        "describe vae --svg mine.svg",
        "export classifier --format torch --data images.npz --out mine",
    ],
)
def test_what_is_anybody_s_own_is_not_overwritten(command: str, runs: Path):
    (runs / "mine.d").mkdir()
    (runs / "mine").mkdir()
    for name in ("mine.png", "mine.csv", "mine.html", "mine.svg", "film.gif"):
        (runs / name).write_text("mine")
    for name in ("classifier.pt2", "samples-64-seed-0.png", "samples-64-seed-0"):
        (runs / "mine" / name).write_text("mine")
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    with inside(runs):
        assert "exists already" in refused(*command.split())
    assert {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()} == before


def test_a_training_does_not_begin_among_its_images(tmp_path: Path):
    image = tmp_path / "cat" / "1.png"
    image.parent.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    with inside(tmp_path):
        assert "inside --data ." in refused("train", "vae", "--data", ".", "--steps", "1")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [image]
