"""Putting models on the hub: what goes there, to a hub that is played here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from visarch import ResNet, ResNetConfig, publishing
from visarch.errors import UserError


class Hub:
    """Plays HfApi: keeps what it is given."""

    def __init__(self, there: dict[str, bool] | None = None):
        self.private = there or {}
        self.commits: list[tuple[str, dict[str, bytes], str]] = []

    def repo_exists(self, name: str) -> bool:
        return name in self.private

    def model_info(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(private=self.private[name])

    def create_repo(self, name: str, *, private: bool) -> None:
        assert name not in self.private
        self.private[name] = private

    def create_commit(self, name: str, operations, *, commit_message: str) -> SimpleNamespace:
        files = {}
        for operation in operations:
            with operation.as_file() as file:
                files[operation.path_in_repo] = file.read()
        self.commits.append((name, files, commit_message))
        return SimpleNamespace(repo_url=f"https://hub.example/{name}")


@pytest.fixture
def hub(monkeypatch) -> Hub:
    played = Hub()
    monkeypatch.setattr(publishing, "HfApi", lambda **_: played)
    return played


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with more in it than belongs to a model."""
    ResNet(ResNetConfig(depths=(1,), widths=(4,))).save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "task.json").write_text("{}")
    (tmp_path / "m" / "secret.txt").write_text("mine")
    return tmp_path / "m"


NAMES = {"config.json", "model.safetensors", "README.md", "task.json"}


@pytest.mark.parametrize("public", [False, True])
def test_a_new_repository_is_private_unless_it_is_to_be_public(public, hub, folder):
    files = publishing.files_to_upload(folder, "jane/m")
    address = publishing.upload(files, "jane/m", public=public, message="First")
    assert address == "https://hub.example/jane/m"
    assert hub.private == {"jane/m": not public}
    ((name, uploaded, message),) = hub.commits
    assert (name, message) == ("jane/m", "First")
    assert uploaded.keys() == NAMES
    for file in NAMES - {"README.md"}:
        assert uploaded[file] == (folder / file).read_bytes()


@pytest.mark.parametrize("private", [False, True])
def test_a_repository_that_is_there_stays_as_visible_as_it_is(private, hub, folder):
    hub.private["jane/m"] = private
    files = publishing.files_to_upload(folder, "jane/m")
    publishing.upload(files, "jane/m", public=False, message="Again")
    assert hub.private == {"jane/m": private}
    if private:
        with pytest.raises(UserError, match="is private, which --public does not change"):
            publishing.upload(files, "jane/m", public=True, message="Again")
    assert len(hub.commits) == 1


def test_a_hub_that_nothing_leads_to(monkeypatch):
    api = publishing.HfApi
    monkeypatch.setattr(publishing, "HfApi", lambda **_: api(endpoint="http://127.0.0.1:1"))
    with pytest.raises(UserError, match=r"The hub did not take jane/m \(\w+: .+\)"):
        publishing.upload({"a": b""}, "jane/m", public=False, message="")


def test_a_hub_out_of_reach(hub, folder, monkeypatch):
    def fail(*_, **__):
        raise OfflineModeIsEnabled("offline mode")

    monkeypatch.setattr(hub, "create_commit", fail)
    with pytest.raises(UserError, match=r"did not take jane/m.*offline mode.*hf auth login"):
        publishing.upload({"a": b""}, "jane/m", public=False, message="")


@pytest.mark.parametrize("name", ["m", "jane/", "/m", "a/b/c", "jane/m m", "jane/../m", ""])
def test_names_that_the_hub_does_not_have(name: str):
    with pytest.raises(UserError, match=r"no name on the hub.*OWNER/NAME"):
        publishing.check_name(name)


def test_names_that_it_has():
    publishing.check_name("jane/digits-0.1_b")


def test_no_model(tmp_path: Path, folder: Path):
    with pytest.raises(UserError, match="no run folder or model folder"):
        publishing.files_to_upload(tmp_path / "none", "jane/m")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be opened"):
        publishing.files_to_upload(folder, "jane/m")
