"""The pictures of the boxes show what the boxes do today."""

from __future__ import annotations

import runpy
from xml.etree import ElementTree

import pytest

from tests.docs.pages import ROOT

PICTURES = runpy.run_path(str(ROOT / "docs/pictures/draw_boxes.py"))["PICTURES"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_script_draws(name: str):
    kept = (ROOT / "docs/pictures" / name).read_text("utf-8")
    drawn = PICTURES[name]()
    if name == "box-attention.svg":  # a shade may be rounded another way elsewhere
        kept, drawn = (outline(svg) for svg in (kept, drawn))
    assert drawn == kept, "run python docs/pictures/draw_boxes.py"


def outline(svg: str) -> list[tuple[str, str | None]]:
    return [(part.tag, part.get("x")) for part in ElementTree.fromstring(svg).iter()]
