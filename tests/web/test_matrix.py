"""The drawn matrix is that of the convolution."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.errors import UserError
from visarch.reference.convolution import conv
from visarch.web.matrix import draw_matrix, tap_matrix

sizes = st.tuples(
    st.sampled_from([1, 2]),
    st.integers(3, 6),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
).filter(lambda of: of[2] <= of[1] + 2 * of[4])


@given(sizes)
def test_it_maps_images_as_the_convolution_does(sizes: tuple[int, ...]):
    ndim, size, kernel, stride, padding = sizes
    taps = tap_matrix(*sizes).numpy()
    x = np.random.default_rng(0).normal(size=(1, *[size] * ndim))
    weight = 1 + np.arange(kernel**ndim, dtype=float).reshape(1, 1, *[kernel] * ndim)
    y = conv(x, {"weight": weight}, stride=stride, padding=padding)
    np.testing.assert_allclose(taps @ x.ravel(), y.ravel(), atol=1e-9)


@given(sizes)
def test_every_number_that_is_not_zero_is_drawn_in_both(sizes: tuple[int, ...]):
    drawn = draw_matrix(*sizes)
    root = ElementTree.fromstring(drawn.svg)
    cells = [rect for rect in root.iter() if rect.tag.endswith("rect") and "fill" in rect.attrib]
    taps = tap_matrix(*sizes)
    assert len(cells) == 2 * int(torch.count_nonzero(taps))
    assert f"V of {taps.shape[0]} × {taps.shape[1]}" in drawn.said


def test_an_example():
    drawn = draw_matrix(1, 7, 3, 2, 1)
    assert "⌊(7 + 2 − 3)/2⌋ + 1 = **4**" in drawn.said
    assert "takes H′ = 4 to (H′ − 1)S + F − 2P = **7**" in drawn.said
    assert "Vᵀ[0, 0] = w[1]</title>" in drawn.svg


def test_what_a_transposed_convolution_cannot_do_is_said():
    assert "has no implicit convolution" in draw_matrix(1, 5, 1, 1, 1).said
    assert "would leave nothing" in draw_matrix(1, 3, 2, 4, 1).said
    assert "which is 1 less than H" in draw_matrix(1, 6, 3, 2, 0).said


def test_a_filter_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="choose F ≤ H \\+ 2P = 3"):
        draw_matrix(1, 3, 5, 1, 0)
