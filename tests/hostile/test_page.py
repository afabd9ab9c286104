"""The page with eight people on it, most of whom mean no good.

Twenty of them for five minutes are what `tests/soak/input_page.py` tries.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from .corpus import state
from .page.deeds import deeds
from .page.load import Record, answers, end, load, rest
from .page.served import served
from .page.traps import traps


@pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="the page needs visarch[web]"
)
def test_a_page_bears_many_at_once(trained: Path, tmp_path: Path):
    (tmp_path / "page").mkdir()
    before, record = state(trained), Record()
    sources = [trained / task for task in ("classifier", "vae", "diffusion")]
    with traps(tmp_path) as (laid, asked), served(tmp_path / "page", *sources) as page:
        right = answers(page.address)
        with page.watched():
            load(page, laid, record, clients=8, seed=0, turns=4)
            rest(page, record, right)
        end(page, record, laid, asked, [trained])
    assert not record.wrong, record
    assert state(trained) == before
    assert record.outcomes.keys() == deeds(laid).keys()
