"""Opening what a training left behind, and data like that which it was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch import Denoiser, GaussianVAE, ResNet, ResNetConfig, UNet, UNetConfig, VAEConfig
from visarch.data import Data, Preparation, Split, open_data
from visarch.errors import UserError
from visarch.run import Run, load_run

MODEL = VAEConfig(image_shape=(1, 12), latent_dim=2, channels=4, depth=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Data of thirty signals on a scale of their own."""
    path = tmp_path / "waves.npz"
    np.savez(path, signals=np.random.default_rng(0).normal(5, 3, (30, 12)).astype(np.float32))
    return path


@pytest.fixture
def folder(tmp_path: Path, source: Path) -> Path:
    """A run folder as the training writes it, for that data."""
    path = tmp_path / "run"
    GaussianVAE(MODEL).save_pretrained(path / "model")
    (path / "config.yaml").write_text(f"task: vae\ndata: {source}\nseed: 7\n")
    (path / "data.json").write_text(json.dumps(open_data(source).describe()))
    return path


def test_a_run_folder(folder: Path, source: Path):
    run = load_run(str(folder))
    data = open_data(source)
    assert run.model.config == MODEL
    assert not run.model.training
    assert run.preparation == data.preparation
    assert run.preparation.floats != (0, 1)
    assert (run.source, run.folder, run.seed) == (str(folder), folder, 7)
    assert (run.data, run.fingerprint, run.assumption) == (str(source), data.fingerprint(), None)


def test_the_model_in_a_run_folder_belongs_to_the_run(folder: Path):
    assert load_run(f"{folder}/model/").folder == folder


@pytest.mark.parametrize(
    ("shape", "levels", "said"),
    [
        ((3, 6, 6), 256, "8-bit images of 3×6×6"),
        ((1, 12), None, "within [0, 1] in samples of 1×12"),
    ],
)
def test_of_a_model_on_its_own_the_data_is_assumed(shape, levels, said, tmp_path: Path):
    config = VAEConfig(image_shape=shape, latent_dim=2, channels=4, depth=1)
    GaussianVAE(config).save_pretrained(tmp_path / "model")
    run = load_run(str(tmp_path / "model"))
    assert run.preparation == Preparation(shape, levels)
    assert run.assumption is not None
    assert said in run.assumption
    assert (run.folder, run.data, run.seed) == (None, None, 0)
    with pytest.raises(UserError, match=r"without its run folder.*say which data to take"):
        run.open_data()


# What is no run that can be used.


def test_no_run(tmp_path: Path):
    with pytest.raises(UserError, match=r"no run folder or model folder .*none"):
        load_run(str(tmp_path / "none"))


def test_an_unfinished_run(folder: Path):
    shutil.rmtree(folder / "model")
    with pytest.raises(UserError, match=f"not written its model yet.*--resume {folder}"):
        load_run(str(folder))


def test_another_kind_of_model(folder: Path, tmp_path: Path):
    run = load_run(str(folder))
    assert run.of(GaussianVAE) is run
    assert run.of(ResNet, GaussianVAE) is run
    with pytest.raises(
        UserError, match=r"a GaussianVAE \(vae\); only with a ResNet \(classifier\) or Denoiser"
    ):
        run.of(ResNet, Denoiser)
    UNet(UNetConfig(widths=(8,), attends=(False,), num_groups=8)).save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="bare UNet, which was not trained for a task"):
        load_run(str(tmp_path / "bare"))


# A model on its own, with what is told beside its weights.


TOLD = {
    "task": "classifier",
    "source": "photos",
    "preparation": Preparation((3, 8, 8), 256).to_dict(),
    "classes": ["cat", "dog"],
    "vector_names": None,
    "seed": 3,
    "settings": {"a": 1},
}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    config = ResNetConfig(num_classes=2, depths=(1,), widths=(4,), block="residual")
    ResNet(config).save_pretrained(tmp_path / "told")
    return tmp_path / "told"


def test_what_is_told_beside_the_weights(classifier: Path):
    (classifier / "task.json").write_text(json.dumps(TOLD))
    run = load_run(str(classifier))
    assert (run.task, run.classes, run.seed) == ("classifier", ("cat", "dog"), 3)
    assert run.preparation == Preparation((3, 8, 8), 256)
    assert run.settings == {"a": 1}
    assert (run.vector_names, run.assumption, run.data) == (None, None, None)


def test_of_a_classifier_nothing_is_assumed(classifier: Path):
    with pytest.raises(UserError, match=r"no task\.json, which tells how its images"):
        load_run(str(classifier))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "should hold one JSON object"),
        (json.dumps(TOLD | {"preparation": {}}), "lacks what belongs there"),
        (json.dumps(TOLD | {"preparation": None}), "lacks what belongs there"),
    ],
)
def test_what_is_told_and_damaged(text: str, words: str, classifier: Path):
    (classifier / "task.json").write_text(text)
    with pytest.raises(UserError, match=words):
        load_run(str(classifier))


def test_no_such_device(folder: Path):
    with pytest.raises(UserError, match="--device tpu"):
        load_run(str(folder), "tpu")


def without(key: str, text: str) -> str:
    values = json.loads(text)
    del values[key]
    return json.dumps(values)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.json", lambda text: text[:30]),
        ("data.json", lambda text: "[]"),
        ("data.json", lambda text: without("preparation", text)),
        ("data.json", lambda text: without("fingerprint", text)),
        ("config.yaml", lambda text: text.replace("seed", "seat")),
        ("config.yaml", lambda text: text.replace("7", "seven")),
    ],
)
def test_a_damaged_run_is_answered_with_the_file(name: str, change, folder: Path):
    file = folder / name
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=name):
        load_run(str(folder))


def test_a_run_that_lost_what_it_knew_of_its_data(folder: Path):
    (folder / "data.json").unlink()
    with pytest.raises(UserError, match=r"data\.json, which says how the run prepared its data"):
        load_run(str(folder))


# Its data, and other data.


@pytest.fixture
def run(folder: Path) -> Run:
    return load_run(str(folder))


def test_its_own_data_comes_back_as_it_was(run: Run, source: Path):
    data, own = run.open_data(), open_data(source)
    assert run.is_trained_on(data)
    for name, split in own.splits.items():
        assert torch.equal(data.splits[name].images, split.images)


def test_other_data_is_prepared_alike(run: Run, tmp_path: Path):
    low, high = run.preparation.floats
    np.savez(tmp_path / "other.npz", signals=np.full((4, 12), high + 1, np.float32))
    data = run.open_data(str(tmp_path / "other.npz"))
    assert not run.is_trained_on(data)
    images = data.splits["train"].images
    torch.testing.assert_close(images, torch.full_like(images, 1 + 1 / (high - low)))


def test_data_that_has_moved_is_named(run: Run, source: Path):
    source.rename(source.with_name("elsewhere.npz"))
    with pytest.raises(
        UserError, match=rf"There is no '{source}'.*what {run.source} was trained on"
    ):
        run.open_data()
    assert run.is_trained_on(run.open_data(str(source.with_name("elsewhere.npz"))))


def test_only_of_its_own_data_a_part_was_trained_on(run: Run, source: Path, tmp_path: Path):
    own = run.open_data()
    assert run.held_out(own).name == "validation"
    shutil.copy(source, tmp_path / "copy.npz")
    assert run.held_out(run.open_data(str(tmp_path / "copy.npz"))).name == "validation"
    np.savez(tmp_path / "other.npz", signals=np.ones((20, 12), np.float32))
    assert len(run.held_out(run.open_data(str(tmp_path / "other.npz")))) == 20

    # Changed since, but still where it was: what it held then was trained on.
    np.savez(source, signals=np.random.default_rng(1).normal(5, 3, (31, 12)).astype(np.float32))
    changed = run.open_data()
    assert not run.is_trained_on(changed)
    assert run.held_out(changed).name == "validation"


@pytest.fixture
def images(tmp_path: Path) -> Run:
    """A model on its own that takes gray images of 6×6."""
    config = VAEConfig(image_shape=(1, 6, 6), latent_dim=2, channels=4, depth=1)
    GaussianVAE(config).save_pretrained(tmp_path / "images")
    for number in range(3):
        Image.new("L", (6, 6), 10 * number).save(tmp_path / f"{number}.PNG")
    return load_run(str(tmp_path / "images"))


def test_inputs_are_files_or_data_or_its_own(images: Run, run: Run, tmp_path: Path):
    files = [str(tmp_path / f"{number}.PNG") for number in (2, 0)]
    split = images.open_inputs(files)
    assert isinstance(split, Split)
    assert split.names == files
    assert split.images[:, 0, 0, 0].tolist() == [20, 0]
    data = images.open_inputs([str(tmp_path)])
    assert isinstance(data, Data)
    assert sum(map(len, data.splits.values())) == 3
    own = run.open_inputs([])
    assert isinstance(own, Data)
    assert run.is_trained_on(own)


def test_a_folder_called_like_an_image(images: Run, tmp_path: Path):
    (tmp_path / "all.png").mkdir()
    Image.new("L", (6, 6)).save(tmp_path / "all.png" / "a.png")
    assert isinstance(images.open_inputs([str(tmp_path / "all.png")]), Data)


def test_inputs_of_which_one_is_no_image_file(images: Run, tmp_path: Path):
    with pytest.raises(UserError, match="'digits' is no image file, and 2 things are named"):
        images.open_inputs([str(tmp_path / "0.PNG"), "digits"])
    with pytest.raises(UserError, match=r"There is no .*none\.png"):
        images.open_inputs([str(tmp_path / "none.png")])


def test_image_files_for_signals(run: Run):
    with pytest.raises(UserError, match="works on 1-d data; it cannot take image files"):
        run.open_inputs(["a.png"])
