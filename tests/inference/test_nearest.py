"""The nearest images are those at the smallest angle in the features."""

from __future__ import annotations

import numpy as np
import torch

from visarch import ResNet, ResNetConfig
from visarch.data import Split
from visarch.inference.classifier import embed
from visarch.inference.nearest import build_index


def make() -> tuple[ResNet, Split]:
    torch.manual_seed(0)
    model = ResNet(ResNetConfig(1, 3, block="residual", depths=(1, 1), widths=(4, 6))).eval()
    images = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8)
    return model, Split("train", images, torch.arange(30) % 3, [str(n) for n in range(30)])


def test_they_are_sorted_by_the_cosine():
    model, split = make()
    features = embed(model, split, 256)
    found = build_index(model, split, 256, most=100).nearest(features[7], 30)
    vectors = features.double().numpy()
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors[7] / lengths / lengths[7]
    assert found[0].position == 7
    assert {neighbor.position for neighbor in found} == set(range(30))
    similarities = [neighbor.similarity for neighbor in found]
    assert similarities == sorted(similarities, reverse=True)
    expected = cosines[[neighbor.position for neighbor in found]]
    np.testing.assert_allclose(similarities, expected, atol=1e-5)


def test_of_many_images_some_are_searched():
    model, split = make()
    index = build_index(model, split, 256, most=5)
    assert len(index.split) == len(index.directions) == 5
    assert len(index.nearest(index.directions[0], 8)) == 5
    assert index.split.labels is not None
