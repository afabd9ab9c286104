import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import dequantize, to_uint8, to_unit
from visarch.data.values import levels_for

LEVELS = st.sampled_from([256, 1024, 4096, 16384, 65536])


def test_8_bits_survive_the_unit_interval():
    every_value = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_unit(every_value, 256)), every_value)


@given(levels=LEVELS, uniform=st.floats(0, 1, exclude_max=True, width=32), data=st.data())
def test_dequantized_values_stay_in_their_cell(levels, uniform, data):
    level = data.draw(st.integers(0, levels - 1))
    value = dequantize(torch.tensor([level]), levels, torch.tensor([uniform]))
    assert level / levels <= value.item() <= (level + 1) / levels


@given(levels=LEVELS, data=st.data())
def test_the_unit_value_is_the_middle_of_the_cell(levels, data):
    level = torch.tensor([data.draw(st.integers(0, levels - 1))])
    assert torch.equal(to_unit(level, levels), dequantize(level, levels, torch.tensor(0.5)))


def test_deeper_images_become_bytes_by_their_leading_bits():
    every_value = torch.arange(65536, dtype=torch.int32)
    assert torch.equal(to_uint8(to_unit(every_value, 65536)), (every_value // 256).to(torch.uint8))


def test_continuous_values_stay_as_they_are():
    values = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.5])
    assert torch.equal(to_unit(values, None), values)
    assert torch.equal(dequantize(values, None, torch.rand(5)), values)


def test_values_outside_the_unit_interval_become_black_and_white():
    values = torch.tensor([-1.0, -1e-9, 1.0, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 255, 255]


@given(st.floats(0, 65535))
def test_levels_hold_the_largest_value_and_a_quarter_of_them_would_not(largest):
    levels = levels_for(largest)
    assert largest < levels
    assert levels == 256 or largest >= levels // 4


def test_more_than_16_bits_are_refused():
    with pytest.raises(ValueError, match="65536 needs more than 16 bits"):
        levels_for(65536)
