"""Markup keeps every text a text; numbers are short and true."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visarch.report.markup import Html, element, table, together
from visarch.report.spelling import duration, number, short

from .pages import HOSTILE, Page

# HTML has no place for control characters, and reads \r as \n
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


@given(texts, texts)
def test_what_goes_in_comes_out_as_text(text: str, value: str):
    page = Page(element("p", text, element("em", text), title=value, class_=None))
    assert page.text == text + text
    assert page.tags == [("p", {"title": value}), ("em", {})]


def test_markup_goes_in_as_it_is_and_nothing_is_left_out_silently():
    assert together("<", Html("<br>"), None, "") == "&lt;<br>"
    assert element("img", src="a", http_equiv='"') == '<img src="a" http-equiv="&quot;">'


def test_a_table_has_a_head_only_if_there_is_something_in_it():
    page = Page(table(["a", HOSTILE], [["1", "2"]], numbers=[1]))
    assert page.all("th") == [{}, {"class": "number"}]
    assert page.all("td") == [{}, {"class": "number"}]
    assert not Page(table(["", ""], [["1", "2"]])).all("thead")


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (6.8203, "6.820"),
        (-0.0125, "−0.01250"),
        (1024, "1,024"),
        (64.0, "64"),
        (1234.5, "1,234"),
        (math.nan, "nan"),
        (-math.inf, "−inf"),
        (1.5e-7, "1.500e−07"),
    ],
)
def test_numbers(value: float, spelled: str):
    assert number(value) == spelled


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0.00025, "0.00025"),
        (12.5, "12.5"),
        (-4000, "−4,000"),
        (25_000, "25k"),
        (1_500_000, "1.5M"),
        (3.4e38, "3.4e+38"),
        (0, "0"),
    ],
)
def test_short_numbers(value: float, spelled: str):
    assert short(value) == spelled


@pytest.mark.parametrize(
    ("seconds", "spelled"), [(4.4, "4 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, spelled: str):
    assert duration(seconds) == spelled
