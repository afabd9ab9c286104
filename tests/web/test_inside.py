"""Every step that one can choose has feature maps, for each kind of network."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="the page needs visarch[web]")
from visarch.web.inside import feature_maps, steps
from visarch.web.shelf import Shelf
from visarch.web.uploads import read_upload


@pytest.mark.parametrize("task", ["classifier", "vae", "diffusion"])
def test_what_can_be_chosen_is_there(runs, task: str):
    (shown,) = Shelf([str(getattr(runs, task))], "cpu").all.values()
    split, _ = read_upload(str(runs.images / "red" / "3.png"), shown.run)
    assert list(feature_maps(shown, split, 0.5)) == steps(shown)
