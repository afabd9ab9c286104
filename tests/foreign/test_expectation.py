"""How imported classifiers expect images: given, told beside the file, or assumed and said."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from visarch import ResNetConfig
from visarch.errors import UserError
from visarch.foreign.expectation import Expectation, read_class_names

LARGE = ResNetConfig(num_classes=3, stem="large")


def settled(expectation: Expectation, file: Path, config: ResNetConfig = LARGE):
    return expectation.settled(file, config)


def test_what_is_given_is_taken_without_a_word(tmp_path: Path):
    given = Expectation((40, 60), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), ("a", "b", "c"))
    found, reasons = settled(given, tmp_path / "w.pt")
    assert reasons == []
    facts = found.facts(Path("w.pt"))
    assert facts["preparation"]["shape"] == [3, 40, 60]
    assert facts["settings"] == {"mean": [0.1, 0.2, 0.3], "deviation": [1.0, 2.0, 3.0]}
    assert facts["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("config", "shape", "mean"),
    [
        (LARGE, (3, 224, 224), (0.485, 0.456, 0.406)),
        (ResNetConfig(num_classes=3), (3, 32, 32), (0.4914, 0.4822, 0.4465)),
        (ResNetConfig(1, 3), (1, 32, 32), (0.0,)),
    ],
)
def test_what_is_usual_is_assumed_and_said(config, shape, mean, tmp_path: Path):
    found, reasons = settled(Expectation(), tmp_path / "w.pt", config)
    assert (found.shape, found.mean) == (shape, mean)
    assert [what for what, _, _ in reasons] == ["image size", "mean", "deviation", "class names"]
    assert all(why.startswith("assumed: ") for _, _, why in reasons[:3])
    assert found.class_names == ("0", "1", "2")  # so that no folder's names are taken for them
    featureless, _ = settled(Expectation(), tmp_path / "w.pt", replace(config, num_classes=None))
    assert featureless.class_names is None


def test_a_configuration_of_timm_beside_the_file_is_read(tmp_path: Path):
    told = {"input_size": [3, 160, 128], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": told}))
    found, reasons = settled(Expectation(mean=(0.0, 0.0, 0.0)), tmp_path / "w.safetensors")
    assert found.shape == (3, 160, 128)
    assert found.mean == (0.0, 0.0, 0.0)
    assert found.deviation == (0.2, 0.3, 0.4)
    assert [why for _, _, why in reasons[:2]] == ["told by config.json beside the weights"] * 2


REFUSED = {
    "--image-size is 0:": Expectation((0,)),
    "--image-size is 1 2 3:": Expectation((1, 2, 3)),
    "--mean is 0.5: the network takes images of 3 channels": Expectation(mean=(0.5,)),
    "--mean is .*nan": Expectation(mean=(0.5, math.nan, 0.5)),
    "--deviation is 1 0 1: .*above 0": Expectation(deviation=(1.0, 0.0, 1.0)),
    "--deviation is .*inf": Expectation(deviation=(math.inf, 1.0, 1.0)),
    "--class-names has 2 names, and the network tells 3": Expectation(class_names=("a", "b")),
}


@pytest.mark.parametrize(("answer", "given"), REFUSED.items())
def test_what_does_not_fit_is_refused(answer: str, given: Expectation, tmp_path: Path):
    with pytest.raises(UserError, match=answer):
        settled(given, tmp_path / "w.pt")


TOLD_WRONGLY = {
    r"image_size in .*config\.json is \[\]": {"input_size": [3]},
    r"image_size in .* is \['224', 224\]": {"input_size": [3, "224", 224]},
    r"image_size in .* is 224\.5 224:": {"input_size": [3, 224.5, 224]},
    r"mean in .* is 0\.5: the network takes images of 3": {"mean": [0.5]},
    r"mean in .* is 0\.5: the network takes": {"mean": 0.5},
    r"mean in .* is \[nan, 0, 0\]": {"mean": [math.nan, 0, 0]},
    r"deviation in .* is None": {"std": None},
    r"deviation in .* is 1 1 0: images are divided": {"std": [1, 1, 0]},
}


@pytest.mark.parametrize(("answer", "change"), TOLD_WRONGLY.items(), ids=TOLD_WRONGLY)
def test_what_is_told_wrongly_is_refused_by_its_place(answer: str, change, tmp_path: Path):
    told = {"input_size": [3, 160, 128], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": told | change}))
    with pytest.raises(UserError, match=answer):
        settled(Expectation(), tmp_path / "w.pt")
    given = Expectation((8,), (0.0,) * 3, (1.0,) * 3)  # then nobody asks what is told
    assert settled(given, tmp_path / "w.pt")[0].shape == (3, 8, 8)


def test_names_of_classes(tmp_path: Path):
    (tmp_path / "names.txt").write_text("tench \ngoldfish\n", encoding="utf-8")
    assert read_class_names(tmp_path / "names.txt") == ("tench", "goldfish")
    for text, answer in (("a\n\nb", "line 2 is empty"), ("a\nb\na\nb\n", "line 3, line 4 are")):
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(UserError, match=answer):
            read_class_names(tmp_path / "names.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_class_names(tmp_path / "none.txt")
