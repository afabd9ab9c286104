"""The drawings: well-formed, complete, on the sheet, and nothing on top of anything else."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import visarch
from visarch.describe.description import Description
from visarch.describe.drawing import draw
from visarch.describe.networks import describe
from visarch.models.resnet import ResNet, ResNetConfig, resnet18, resnet50, resnet152
from visarch.models.unet import Denoiser, UNet, UNetConfig
from visarch.models.vae import GaussianVAE, VAEConfig

PICTURES = Path(visarch.__file__).parents[1] / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


class Box(NamedTuple):
    """What an element covers."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            min(self.right, other.right) - max(self.left, other.left) > 0.1
            and min(self.bottom, other.bottom) - max(self.top, other.top) > 0.1
        )

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


def make(name: str) -> nn.Module:
    """A network that is drawn in its own way."""
    small = {"widths": (32, 64, 64), "num_groups": 8, "attends": (False, True, True)}
    wide = {"widths": (64, 64, 128, 256, 512, 2048), "attends": (True,) * 6, "num_blocks": 3}
    with torch.device("meta"):
        networks = {
            "unet": lambda: UNet(),
            "small unet": lambda: UNet(UNetConfig(**small, num_blocks=1, ndim=1)),
            "wide unet": lambda: UNet(UNetConfig(**wide, attention="prenorm")),
            "one level": lambda: UNet(UNetConfig(widths=(64,), attends=(True,))),
            "denoiser": lambda: Denoiser(UNetConfig(), num_classes=10, vector_dim=3),
            "resnet50": lambda: resnet50(),
            "resnet152": lambda: resnet152(1000),
            "3-d resnet18": lambda: resnet18(ndim=3),
            "large stem": lambda: ResNet(ResNetConfig(stem="large", num_classes=1, dropout=0.5)),
        }
        if name in networks:
            return networks[name]()
    configs = {
        "vae": VAEConfig(),
        "shallow vae": VAEConfig(image_shape=(1, 16), depth=0, sigma="constant"),
        "deep vae": VAEConfig(image_shape=(3, 12, 9), patch_size=1, depth=60, covariance="full"),
        "bottlenecks": VAEConfig(image_shape=(1, 8, 8, 8), block="bottleneck", sigma="learned"),
    }
    return GaussianVAE(configs[name])


NAMES = (
    *("unet", "small unet", "wide unet", "one level", "denoiser"),
    *("resnet50", "resnet152", "3-d resnet18", "large stem"),
    *("vae", "shallow vae", "deep vae", "bottlenecks"),
)


@pytest.fixture(scope="module", params=NAMES)
def drawn(request: pytest.FixtureRequest) -> tuple[Description, ElementTree.Element]:
    """A network's description, and its drawing as XML."""
    model = make(request.param)
    ndim = model.config.ndim
    size = None if isinstance(model, GaussianVAE) else (40, 33, 8)[:ndim]
    description = describe(model, size)
    return description, ElementTree.fromstring(draw(description))


def sheet(root: ElementTree.Element) -> Box:
    return Box(*map(float, root.attrib["viewBox"].split()))


def tiles(root: ElementTree.Element) -> list[Box]:
    """The rectangles that stand for steps: those that tell what they are."""
    return [area(rect) for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]


def area(rect: ElementTree.Element) -> Box:
    left, top, width, height = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
    return Box(left, top, left + width, top + height)


def texts(root: ElementTree.Element) -> list[Box]:
    """Where letters are, for a font of average width."""
    boxes = []
    for element in root.iter(f"{SVG}text"):
        size, words = float(element.attrib["font-size"]), "".join(element.itertext())
        x, y, width = (
            float(element.attrib["x"]),
            float(element.attrib["y"]),
            0.5 * size * len(words),
        )
        left = x - {"start": 0, "middle": width / 2, "end": width}[element.attrib["text-anchor"]]
        boxes.append(Box(left, y - 0.72 * size, left + width, y))
    return boxes


class TestEveryDrawing:
    def test_every_step_is_drawn_and_says_what_it_does(self, drawn):
        description, root = drawn
        told = [title.text or "" for title in root.iter(f"{SVG}title")]
        steps = [step for step in description.steps if step.name != "u"]
        for step in steps:
            words = f"{step.symbol}: {step.operation}, "
            assert sum(text.startswith(words) for text in told) == step.repeats
        marks = [rect.get("data-step") for rect in root.iter(f"{SVG}rect")]
        assert {mark for mark in marks if mark} == {"x", *(step.name for step in steps)}
        written = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
        for step in description.steps:
            plain = step.name.rpartition(".")[2].replace("_bar", "").replace("_", "")
            assert plain in [text.replace("ȳ", "y") for text in written]
        assert f"{description.parameters:,} parameters" in "\n".join(written)

    def test_nothing_leaves_the_sheet(self, drawn):
        _, root = drawn
        page = sheet(root)
        assert all(box.within(page) for box in [*tiles(root), *texts(root)])
        for path in root.findall(f"{SVG}path"):
            numbers = [float(word.strip("MLQ")) for word in path.attrib["d"].split()]
            assert all(0 < x < page.right for x in numbers[::2])
            assert all(0 < y < page.bottom for y in numbers[1::2])

    def test_tiles_stand_apart(self, drawn):
        _, root = drawn
        assert not [pair for pair in combinations(tiles(root), 2) if pair[0].overlaps(pair[1])]

    def test_no_text_is_written_over_another(self, drawn):
        _, root = drawn
        assert not [pair for pair in combinations(texts(root), 2) if pair[0].overlaps(pair[1])]

    def test_it_stands_on_white(self, drawn):
        _, root = drawn
        ground = root.find(f"{SVG}rect")
        assert ground is not None
        assert ground.attrib["fill"] == "#ffffff"
        assert sheet(root).right - area(ground).right < 1


def test_more_channels_are_wider_and_more_pixels_higher():
    root = ElementTree.fromstring(draw(describe(make("resnet50"))))
    groups = {
        box.top: box for box in tiles(root) if box.right - box.left > 30
    }  # of z₁ … z₄, one tile each
    widths = [box.right - box.left for box in groups.values()]
    heights = [box.bottom - box.top for box in groups.values()]
    assert len(groups) == 4
    assert widths[:2] == sorted(widths[:2])
    assert heights == sorted(heights, reverse=True)


def test_the_unet_has_its_twelve_horizontal_connections():
    root = ElementTree.fromstring(draw(describe(make("unet"))))
    dashed = [path for path in root.findall(f"{SVG}path") if "stroke-dasharray" in path.attrib]
    assert len(dashed) == 12 + 1  # and one in the legend


def test_what_a_denoiser_is_told_is_in_its_legend():
    text = "".join(ElementTree.fromstring(draw(describe(make("denoiser")))).itertext())
    assert "u(t, label, vector) enters every ResBlockU" in text


@pytest.mark.parametrize("name", ["unet", "resnet50", "vae"])
def test_the_pictures_in_the_docs_are_up_to_date(name):
    """If this fails: visarch describe NAME --svg docs/pictures/NAME.svg."""
    assert (PICTURES / f"{name}.svg").read_text("utf-8") == draw(describe(make(name)))
