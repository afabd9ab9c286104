"""Runs are opened once, by names of their own, and each knows what it is for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch

from visarch.inference.vae import information
from visarch.web.shelf import Shelf


def test_each_has_its_task_and_a_name(runs, tmp_path: Path):
    copy = tmp_path / "vae"
    shutil.copytree(runs.vae, copy)
    shelf = Shelf([str(path) for path in (*runs[:3], copy)], "cpu")
    assert list(shelf.all) == ["classifier", "vae", "diffusion", "vae (4)"]
    assert list(shelf.classifiers) == ["classifier"]
    assert list(shelf.vaes) == ["vae", "vae (4)"]
    assert list(shelf.denoisers) == ["diffusion"]


def test_held_out_images_go_round(runs):
    (shown,) = Shelf([str(runs.classifier)], "cpu").all.values()
    count = len(shown.run.held_out(shown.data))
    picture, name = shown.held_out(1)
    again, _ = shown.held_out(count + 1)
    assert picture.tobytes() == again.tobytes()
    assert picture.size == (12, 12)
    assert re.fullmatch(r"Held-out image 1: (red|green|blue)", name)


def test_latent_dimensions_are_sorted_by_what_they_tell(runs):
    (shown,) = Shelf([str(runs.vae)], "cpu").vaes.values()
    told = information(shown.run.model, shown.run.held_out(shown.data), shown.levels)
    assert sorted(shown.order) == list(range(10))
    values = told[shown.order]
    assert torch.equal(values, values.sort(descending=True).values)


def test_without_its_data_they_stay_in_their_order(runs, tmp_path: Path):
    shutil.copytree(runs.vae / "model", tmp_path / "model")
    (shown,) = Shelf([str(tmp_path / "model")], "cpu").vaes.values()
    assert shown.information is None
    assert shown.order == list(range(10))
