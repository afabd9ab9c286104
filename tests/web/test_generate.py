"""The page draws what `visarch sample` draws, and keeps the same facts in the file."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visarch.cli import main
from visarch.errors import UserError

pytest.importorskip("gradio", reason="the page needs visarch[web]")
from visarch.web.generate import EACH, Wish, draw_pictures, numbers
from visarch.web.shelf import Shelf, ShownDenoiser


@pytest.fixture(scope="module")
def shown(runs) -> ShownDenoiser:
    (shown,) = Shelf([str(runs.diffusion)], "cpu").denoisers.values()
    return shown


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def drawn(shown: ShownDenoiser, wish: Wish) -> tuple[list[Image.Image], Path, dict[str, str]]:
    frames, work = [], draw_pictures(shown, wish)
    while True:
        try:
            frames.append(next(work))
        except StopIteration as end:
            return frames, *end.value


@pytest.mark.parametrize(
    ("wish", "flags"),
    [
        (Wish("blue", None, "dpm++", 4, 1.5, 17, 4), "-n 4 --seed 17 --label blue --guidance 1.5"),
        (
            Wish("none", "", "ddim", 3, 0, 2, 9),
            "-n 9 --seed 2 --label none --sampler ddim --steps 3",
        ),
        (Wish(EACH, None, "heun", 2, 0, 5, 16), "-n 16 --sampler heun --steps 2 --guidance 0"),
    ],
)
def test_it_is_what_the_verb_draws(shown: ShownDenoiser, tmp_path: Path, wish: Wish, flags: str):
    frames, path, facts = drawn(shown, wish)
    side = round(wish.images**0.5)
    command = f"sample {shown.run.source} {flags} --columns {side} --device cpu"
    assert main([*shlex.split(command), "--out", str(tmp_path / "verb.png")]) == 0
    with Image.open(path) as ours, Image.open(tmp_path / "verb.png") as theirs:
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        assert ours.info == theirs.info
        assert facts.items() <= ours.info.items()
        assert np.array_equal(np.asarray(frames[-1]), np.asarray(ours))
    assert len(frames) == wish.steps + 1


def test_whatever_a_browser_sends_stays_within_bounds(shown: ShownDenoiser):
    frames, path, facts = drawn(shown, Wish(EACH, None, "nothing", 0, 0, -3, 99))
    assert path.name == "samples-16-seed-0.png"
    assert facts["steps"] == "1"
    assert len(frames) == 2


def test_a_vector_that_the_model_does_not_take_is_declined(shown: ShownDenoiser):
    with pytest.raises(UserError, match="takes none"):
        drawn(shown, Wish(EACH, "1, 2", "ddim", 2))


def test_numbers_are_read_as_they_are_written():
    assert numbers(" 1, 2.5  -3e1 ") == [1.0, 2.5, -30.0]
    with pytest.raises(UserError, match="'one': give numbers"):
        numbers("one")
