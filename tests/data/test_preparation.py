import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from visarch.data import Preparation
from visarch.data.preparation import spatial_size
from visarch.errors import UserError

DEPTHS = st.sampled_from([256, 1024, 4096, 16384, 65536])


def whole_numbers(levels: int) -> Preparation:
    scale = (-0.5, levels - 0.5)
    return Preparation((1, levels), levels, integers=scale, floats=scale)


@given(DEPTHS, st.sampled_from([np.int32, np.uint16, np.int64, np.float32, np.float64]))
def test_whole_numbers_come_back_as_themselves(levels, dtype):
    values = np.arange(levels)
    stored = whole_numbers(levels).apply(values[None].astype(dtype))
    assert stored.dtype == (torch.uint8 if levels == 256 else torch.int32)
    assert stored[0].tolist() == values.tolist()


def test_8_bit_values_divided_by_255_come_back():
    values = np.arange(256)
    preparation = Preparation((1, 256), 256, floats=(-0.5 / 255, 255.5 / 255))
    for dtype in (np.float32, np.float64):
        assert preparation.apply((values / 255)[None].astype(dtype))[0].tolist() == values.tolist()


@given(DEPTHS, DEPTHS)
def test_another_depth_keeps_each_value_in_its_place(deep, levels):
    values = np.arange(deep)
    stored = Preparation((1, deep), levels, integers=(-0.5, deep - 0.5)).apply(
        values[None].astype(np.int32)
    )
    expected = values // (deep // levels) if deep >= levels else None
    if expected is None:
        expected = values * (levels // deep) + levels // deep // 2
    assert stored[0].tolist() == expected.tolist()


@given(arrays.arrays(np.float32, (1, 5), elements=st.floats(-1000, 1000, width=32)))
def test_continuous_values_are_rescaled_and_can_be_mapped_back(values):
    low, high = -3.0, 5.0
    unit = Preparation((1, 5), None, floats=(low, high)).apply(values)
    assert unit.dtype == torch.float32
    np.testing.assert_allclose(low + unit.numpy() * (high - low), values, rtol=1e-5, atol=1e-4)


def test_the_upper_end_of_a_range_belongs_to_the_last_level():
    assert Preparation((1, 3), 256).apply(np.array([[0.0, 0.5, 1.0]])).tolist() == [[0, 128, 255]]


def test_values_off_the_scale_are_refused_not_clipped():
    with pytest.raises(ValueError, match=r"from 0 to 4096, which leave .* -0.5 to 4095.5"):
        whole_numbers(4096).apply(np.linspace(0, 4096, 4096)[None])


def test_gray_and_color_become_each_other():
    color = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    gray = color[:1]
    in_color = Preparation((3, 4, 5), 256).apply(gray)
    assert torch.equal(in_color, torch.from_numpy(gray).expand(3, 4, 5))
    assert torch.equal(Preparation((1, 4, 5), 256).apply(in_color.numpy()), torch.from_numpy(gray))
    red, green, blue = color.astype(float)
    luma = Preparation((1, 4, 5), 256).apply(color)
    np.testing.assert_array_equal(luma[0], np.rint(0.299 * red + 0.587 * green + 0.114 * blue))


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="has 4 channels where 3 are needed"):
        Preparation((3, 8, 8), 256).apply(np.zeros((4, 8, 8), np.uint8))


def test_images_are_resized_and_other_shapes_are_refused():
    assert Preparation((1, 6, 4), 256).apply(np.full((1, 9, 9), 7, np.uint8)).unique() == 7
    with pytest.raises(ValueError, match="1×10 where 1×12 is needed"):
        Preparation((1, 12), 256).apply(np.zeros((1, 10), np.uint8))
    with pytest.raises(ValueError, match="1×10 where 1×12×12 is needed"):
        Preparation((1, 12, 12), 256).apply(np.zeros((1, 10), np.uint8))


@given(
    st.builds(
        Preparation,
        st.lists(st.integers(1, 99), min_size=2, max_size=4).map(tuple),
        st.sampled_from([None, 256, 65536]),
        st.tuples(st.just(-0.5), st.sampled_from([1023.5, 65535.5])),
        st.tuples(st.floats(-9, 0), st.floats(1, 9)),
    )
)
def test_a_preparation_survives_json(preparation):
    assert Preparation.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation


def test_image_sizes():
    assert spatial_size(32, 2) == (32, 32)
    assert spatial_size((24, 32), 2) == (24, 32)
    assert spatial_size(9, 3) == spatial_size((9,), 3) == (9, 9, 9)
    for size, ndim in [(0, 2), ((8, 8), 3), ((8, -8), 2), ((), 2)]:
        with pytest.raises(UserError, match=f"does not fit {ndim}-d data"):
            spatial_size(size, ndim)
