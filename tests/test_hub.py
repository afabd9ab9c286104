"""``visarch.load``: a model from wherever it is, or an answer that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from safetensors.torch import load_file, save_file

import visarch
from visarch import Denoiser, GaussianVAE, ResNet, ResNetConfig, UNet, UNetConfig, VAEConfig
from visarch.errors import UserError
from visarch.hub import load_beside

UNET = UNetConfig(widths=(4, 4), attends=(False, True), num_groups=2, context_dim=16)
MODELS = {
    "ResNet": lambda: ResNet(ResNetConfig(depths=(1,), widths=(4,))),
    "UNet": lambda: UNet(UNET),
    "Denoiser": lambda: Denoiser(UNET, num_classes=3),
    "GaussianVAE": lambda: GaussianVAE(VAEConfig(image_shape=(1, 6, 6), channels=4, depth=1)),
}


pytestmark = pytest.mark.usefixtures("as_for_users")


@pytest.fixture
def model() -> ResNet:
    return MODELS["ResNet"]()


@pytest.fixture
def folder(model: ResNet, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model folder")
    return tmp_path / "model folder"


def assert_same(actual: torch.nn.Module, expected: torch.nn.Module) -> None:
    assert type(actual) is type(expected)
    assert not actual.training
    assert {parameter.device.type for parameter in actual.parameters()} == {"cpu"}
    torch.testing.assert_close(actual.state_dict(), expected.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_folder(make, tmp_path: Path, capfd):
    model = make()
    model.save_pretrained(tmp_path)
    assert_same(visarch.load(tmp_path), model)
    assert_same(visarch.load(str(tmp_path)), model)
    assert capfd.readouterr() == ("", "")


def test_a_run_folder(model: ResNet, tmp_path: Path):
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "config.yaml").write_text("task: classifier\n")
    assert_same(visarch.load(tmp_path), model)


def test_a_folder_named_like_a_hub_id(model: ResNet, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("runs/0001-classifier")
    assert_same(visarch.load("runs/0001-classifier"), model)


def test_a_hub_id(model: ResNet, folder: Path, monkeypatch):
    asked = []

    def hf_hub_download(repo_id: str, filename: str, **_: object) -> str:
        asked.append((repo_id, filename))
        return str(folder / filename)

    monkeypatch.setattr("visarch.hub.hf_hub_download", hf_hub_download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", hf_hub_download)
    monkeypatch.setattr("visarch.models.pretrained.hf_hub_download", hf_hub_download)
    assert_same(visarch.load("somebody/model"), model)
    assert ("somebody/model", "model.safetensors") in asked


@pytest.mark.parametrize("source", ["somebody/model", "runs/none"])
def test_a_hub_id_out_of_reach(source: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no folder {source} here, and the hub.*within reach"):
        visarch.load(source)


class TestWhatLiesBesideAModel:
    def test_in_a_folder(self, model: ResNet, tmp_path: Path):
        model.save_pretrained(tmp_path / "run" / "model")
        assert load_beside(tmp_path / "run", "task.json") == {}
        (tmp_path / "run" / "model" / "task.json").write_text('{"classes": ["a"]}')
        for source in (tmp_path / "run", tmp_path / "run" / "model"):
            assert load_beside(source, "task.json") == {"classes": ["a"]}

    def test_on_the_hub(self, tmp_path: Path, monkeypatch):
        (tmp_path / "task.json").write_text('{"classes": ["a"]}')
        monkeypatch.setattr("visarch.hub.hf_hub_download", lambda model, name: tmp_path / name)
        assert load_beside("somebody/model", "task.json") == {"classes": ["a"]}

    @pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
    def test_a_model_that_is_known_to_have_nothing_there(self, monkeypatch, offline: bool):
        """Online the hub says so; without it, what is kept here of the last time it did."""

        def hf_hub_download(model: str, name: str) -> str:
            if offline:
                raise LocalEntryNotFoundError("no connection")
            raise RemoteEntryNotFoundError("404", response=Mock())

        monkeypatch.setattr("visarch.hub.hf_hub_download", hf_hub_download)
        known = huggingface_hub._CACHED_NO_EXIST
        monkeypatch.setattr("visarch.hub.try_to_load_from_cache", lambda model, name: known)
        assert load_beside("somebody/model", "task.json") == {}

    def test_a_hub_that_does_not_answer_is_not_taken_for_an_empty_one(self, monkeypatch):
        def hf_hub_download(model: str, name: str) -> str:
            raise LocalEntryNotFoundError("no connection")

        monkeypatch.setattr("visarch.hub.hf_hub_download", hf_hub_download)
        with pytest.raises(UserError, match=r"somebody/model.*within reach"):
            load_beside("somebody/model", "task.json")

    def test_no_folder(self):
        with pytest.raises(UserError, match="no run folder or model folder none"):
            load_beside("none", "task.json")


@pytest.mark.parametrize("source", ["none", "a/b/c", "/nowhere/at all"])
def test_no_folder(source: str):
    with pytest.raises(UserError, match=f"no run folder or model folder {source}"):
        visarch.load(source)
    with pytest.raises(UserError, match=f"no run folder or model folder {source}"):
        visarch.load(Path(source))


def test_a_folder_without_a_model(tmp_path: Path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no config.json"):
        visarch.load(tmp_path)


def test_a_run_without_its_model_yet(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("task: vae\n")
    with pytest.raises(UserError, match=f"has not written its model yet.*--resume {tmp_path}"):
        visarch.load(tmp_path)


def with_config(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def with_weights(**changes: torch.Tensor) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file({**weights, **changes}, folder / "model.safetensors")

    return change


DAMAGED = {
    "no json": (lambda folder: (folder / "config.json").write_text("{"), "config.json is not a"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json is not a"),
    "no text": (lambda folder: (folder / "config.json").write_bytes(b"\xff"), "config.json is not"),
    "no architecture": (with_config(architecture=None), "architecture None.*knows ResNet, UNet"),
    "another architecture": (
        with_config(architecture="Transformer"),
        "architecture 'Transformer'.*ResNet, UNet, Denoiser, GaussianVAE",
    ),
    "several architectures": (with_config(architecture=["ResNet"]), r"architecture \['ResNet'\]"),
}


@pytest.mark.parametrize(("damage", "answer"), DAMAGED.values(), ids=DAMAGED)
def test_a_configuration_that_says_nothing(damage, answer: str, folder: Path):
    damage(folder)
    with pytest.raises(UserError, match=answer):
        visarch.load(folder)


REFUSED = {
    "a setting out of range": (with_config(stem="tiny"), "'tiny'"),
    "weights of another size": (with_config(widths=[5]), r"conv\.weight"),
    "weights too many": (with_weights(foreign=torch.zeros(1)), "foreign"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
    "weights cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        "header",
    ),
}


@pytest.mark.parametrize(("damage", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(damage, answer: str, folder: Path):
    damage(folder)
    with pytest.raises(UserError, match=answer):
        visarch.load(folder)


def test_a_setting_that_nobody_knows_is_refused(folder: Path):
    with_config(stemm="large")(folder)
    with pytest.raises(ValueError, match="stemm"):
        visarch.load(folder)
