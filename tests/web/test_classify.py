"""The page says of an image what `visarch predict` says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from visarch.cli import main
from visarch.errors import UserError

pytest.importorskip("gradio", reason="the page needs visarch[web]")
from visarch.web.classify import heat_map, neighbors, probabilities_of
from visarch.web.parts import politely
from visarch.web.shelf import Shelf, ShownClassifier
from visarch.web.uploads import read_upload


@pytest.fixture
def shown(runs) -> ShownClassifier:
    (shown,) = Shelf([str(runs.classifier)], "cpu").classifiers.values()
    return shown


def test_probabilities_are_those_of_the_verb(runs, shown: ShownClassifier, capsys):
    file = str(runs.images / "red" / "3.png")
    shares = probabilities_of(shown, read_upload(file, shown.run)[0])
    capsys.readouterr()
    command = ["predict", str(runs.classifier), file, "--json", "--device", "cpu"]
    assert main(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    expected = {p["class"]: p["probability"] for p in row["predictions"]}
    assert shares == pytest.approx(expected, rel=1e-5)


def test_a_training_image_is_nearest_to_itself(runs, shown: ShownClassifier):
    name = shown.data.splits["train"].names[0]
    split, _ = read_upload(str(runs.images / name), shown.run)
    told: list[tuple[int, int]] = []
    found = neighbors(shown, split, lambda *so_far: told.append(so_far))
    assert len(found) == 8
    assert told[-1] == (len(shown.index().split),) * 2
    _, caption = found[0]
    assert caption == f"{Path(name).parent.name} · 1.00"


def test_each_class_has_a_map_of_its_own(runs, shown: ShownClassifier):
    split, _ = read_upload(str(runs.images / "red" / "3.png"), shown.run)
    maps = {heat_map(shown, split, name).tobytes() for name in shown.classes}
    assert len(maps) == 3
    likeliest = heat_map(shown, split, None)
    assert likeliest.tobytes() in maps
    assert min(likeliest.size) >= 240


def test_without_its_data_all_but_the_nearest_images_is_there(
    runs, shown: ShownClassifier, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_, **__):
        raise UserError("There is no such data.")

    monkeypatch.setattr(type(shown.run), "open_data", gone)
    split, _ = read_upload(str(runs.images / "red" / "3.png"), shown.run)
    assert sum(probabilities_of(shown, split).values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UserError, match="classifier was trained on is not known here"):
        neighbors(shown, split)
    with pytest.raises(UserError, match="drop or paste an image of your own"):
        shown.held_out(0)


def test_what_cannot_be_done_is_a_message():
    def refuse(stream: bool):
        raise UserError("Because.")

    def refuse_later():
        yield 1
        raise UserError("Because.")

    with pytest.raises(Exception, match="Because") as refused:
        politely(refuse)(True)
    assert type(refused.value).__name__ == "Error"
    stream = politely(refuse_later)()
    assert next(stream) == 1
    with pytest.raises(Exception, match="Because") as refused:
        next(stream)
    assert type(refused.value).__name__ == "Error"
