"""Values that no browser sends are told of, and leave no error behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs visarch[web]")
import gradio

from visarch.web.page import Page, build
from visarch.web.parts import politely
from visarch.web.shelf import Shelf


@pytest.fixture(scope="module")
def page(runs) -> Page:
    async def built() -> Page:  # in an event loop, or Gradio would make some and leave them open
        return build(Shelf([str(run) for run in runs[:3]], "cpu"))

    return asyncio.run(built())


def put(page: Page, function: str, *values: Any) -> list[Any]:
    """What arrives at a function of the page."""
    (asked,) = [own for own in page.fns.values() if own.api_name == function]
    return asyncio.run(page.preprocess_data(asked, list(values), None))


def test_right_values_arrive(page: Page):
    assert put(page, "drawn_2", "2-d", 7, 3, 1, 1) == ["2-d", 7, 3, 1, 1]
    assert put(page, "take", "classifier") == ["classifier"]


@pytest.mark.parametrize(
    ("function", "values", "said"),
    [
        ("take", ["nobody"], "nobody is not in the list"),
        ("take", [None], "Run: choose one"),
        ("take", [["classifier"]], "Run: choose one"),
        ("take", [{}], "not in the list"),
        ("take", [], "wrong value"),
        ("drawn_2", ["3-d", 7, 3, 1, 1], "3-d"),
        ("drawn_2", ["2-d", 9, 3, 1, 1], "greater than maximum value 8"),
        ("drawn_2", ["2-d", 10**400, 3, 1, 1], "greater than maximum value 8"),
        ("drawn_2", ["2-d", None, 3, 1, 1], "wrong value"),
        ("drawn_2", ["2-d", "seven", 3, 1, 1], "wrong value"),
        ("look_around", ["classifier", "data:image/png;base64,AAAA"], "wrong value"),
        ("look_around", ["classifier", 7], "wrong value"),
    ],
)
def test_wrong_values_are_told_of(page: Page, function: str, values: list[Any], said: str):
    with pytest.raises(gradio.Error, match=said) as declined:
        put(page, function, *values)
    assert not declined.value.print_exception


def test_what_has_been_forgotten_is_told_of(page: Page):
    (move,) = [own.fn for own in page.fns.values() if own.api_name == "move"]
    with pytest.raises(gradio.Error, match="open it anew") as declined:
        move("vae", None, *[0.0] * 8)
    assert not declined.value.print_exception


def test_a_lack_of_memory_is_told_of_and_an_error_is_left_as_it_is():
    @politely
    def fails(error: Exception) -> None:
        raise error

    with pytest.raises(gradio.Error, match="not enough memory"):
        fails(MemoryError())
    with pytest.raises(gradio.Error, match="not enough memory"):
        fails(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(KeyError, match="ours"):
        fails(KeyError("ours"))


def test_what_nobody_hears_is_forgotten(page: Page):
    """Who has not listened is told so, and everybody else hears everything."""
    waiting = page._queue.pending_messages_per_session
    for name, count in (("listens", 3), ("has gone", 200), ("never listened", 300)):
        waiting[name] = asyncio.Queue()
        for number in range(count):
            waiting[name].put_nowait(number)
    page.forget()
    sizes = {name: messages.qsize() for name, messages in waiting.items()}
    assert sizes == {"listens": 3, "has gone": 200, "never listened": 1}
    assert "not listened" in waiting["never listened"].get_nowait().message


def test_however_many_do_not_listen(page: Page):
    waiting = page._queue.pending_messages_per_session
    for number in range(1000):
        waiting[str(number)] = asyncio.Queue()
        for _ in range(2):
            waiting[str(number)].put_nowait(number)
    page.forget()
    assert sum(messages.qsize() for messages in waiting.values()) < 1300


def test_files_are_not_counted_for_ever(page: Page):
    page.fns[0].inputs[0].temp_files.add("a.png")
    page.forget()
    assert not any(page.temp_file_sets)


@pytest.mark.parametrize(
    ("clicked", "step"),
    [({"step": "z"}, "z"), ({"step": "nowhere"}, "x"), ({"step": [1]}, "x"), (None, "x"), (7, "x")],
)
def test_a_click_is_to_a_step_that_there_is(page: Page, clicked: Any, step: str):
    (point,) = [own.fn for own in page.fns.values() if own.api_name == "point"]
    assert point("classifier", None, 0.5, gradio.EventData(None, clicked))[0] == step
