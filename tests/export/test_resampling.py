"""Resizing in a graph: what Pillow does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from visarch.data.picture import fit as fit_by_pillow
from visarch.export.graphs import Graph
from visarch.export.resampling import fit

SIZE = (11, 8)


class Fit(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return fit(images, SIZE)


@pytest.fixture(scope="module")
def fitted(written):
    """Images of each type through each kind of file."""

    def graph(dtype: torch.dtype) -> Graph:
        images = torch.zeros(2, 3, 20, 30, dtype=dtype)
        free = {"images": {0: "batch", 2: "height", 3: "width"}}
        return Graph("fit", Fit(), {"images": images}, ("fitted",), free)

    cases = [("torch", torch.uint8), ("torch", torch.int32), ("torch", torch.float32)]
    made = {case: written(graph(case[1]), case[0]) for case in cases}
    made["onnx", torch.uint8] = written(graph(torch.uint8), "onnx")
    return made


@pytest.fixture
def pairs():
    """Images of any size and type as they are fitted by a file and by Pillow."""

    def make(answer, dtype: torch.dtype):
        random = np.random.default_rng(0)
        sides = [SIZE, (1, 1), (1, 90), (90, 1), (22, 16), *random.integers(1, 100, (40, 2))]
        for height, width in sides:
            largest = 256 if dtype == torch.uint8 else 65536
            images = torch.from_numpy(random.integers(0, largest, (2, 3, height, width)))
            images = (images / 7 - 100 if dtype.is_floating_point else images).to(dtype)
            (given,) = answer(images=images)
            expected = np.stack([fit_by_pillow(image.numpy(), SIZE) for image in images])
            assert given.dtype == dtype
            yield given, torch.from_numpy(expected)

    return make


def test_bytes_are_exactly_those_of_pillow(fitted, pairs):
    for given, expected in pairs(fitted["torch", torch.uint8], torch.uint8):
        assert torch.equal(given, expected)


def test_bytes_in_onnx_are_off_by_a_level_now_and_then(fitted, pairs):
    different = total = 0
    for given, expected in pairs(fitted["onnx", torch.uint8], torch.uint8):
        assert (given.int() - expected.int()).abs().max() <= 1
        different += int((given != expected).sum())
        total += given.numel()
    assert different <= total / 1000


def test_deeper_images_are_off_by_rounding(fitted, pairs):
    for given, expected in pairs(fitted["torch", torch.int32], torch.int32):
        assert (given - expected).abs().max() <= 1
    for given, expected in pairs(fitted["torch", torch.float32], torch.float32):
        torch.testing.assert_close(given, expected, rtol=1e-6, atol=2e-3)
