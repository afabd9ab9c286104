"""Colors stand where the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visarch.web.overlay import over, sheet


def test_evidence_for_is_red_and_against_is_blue():
    image = torch.full((1, 8, 8), 0.5)
    evidence = torch.tensor([[2.0, 0.0], [0.0, -2.0]])
    pixels = np.asarray(over(image, evidence, 160)).astype(int)
    assert pixels.shape == (160, 160, 3)
    (r, _, b), (r2, _, b2) = pixels[2, 2], pixels[-3, -3]
    assert r > b + 60
    assert b2 > r2 + 60


def test_no_evidence_leaves_the_image_alone():
    image = torch.rand(3, 8, 8)
    pixels = np.asarray(over(image, torch.zeros(2, 2), 8))
    expected = (image.permute(1, 2, 0) * 255).numpy()
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("shape", [(7,), (1,), (5, 3, 4), (100, 2, 2), (2, 1, 1), (4, 4)])
def test_any_maps_become_a_picture(shape: tuple[int, ...]):
    pixels = np.asarray(sheet(torch.randn(shape)))
    assert pixels.ndim == 3
    assert np.isfinite(pixels).all()
    assert np.asarray(sheet(torch.zeros(shape))).ndim == 3
