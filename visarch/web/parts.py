"""What several tabs are made of: how they ask, answer and decline."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gradio as gr
from PIL.Image import Image

from visarch.errors import UserError, lacks_memory
from visarch.web import machine
from visarch.web.shelf import Shown

HEIGHT = 260
"""Of a picture on the page, in pixels."""


def on(
    triggers: Sequence[Any], function: Callable[..., Any], inputs: Any, outputs: Any, **more: Any
) -> Any:
    """Have a function of the page answer: one after the other, since all share the machine."""
    return gr.on(
        triggers,
        politely(function),
        inputs,
        outputs,
        concurrency_id="the machine",
        concurrency_limit=1,
        trigger_mode="always_last",
        api_visibility="private",
        show_progress="minimal",
        **more,
    )


def politely(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says what cannot be done as a message on the page.

    It is computed by the machine; of a generator, its work is (`visarch.web.film`).
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def answers(*arguments: Any) -> Iterator[Any]:
            try:
                yield from function(*arguments)
            except Exception as error:
                raise _declined(error) from error

        return answers

    @functools.wraps(function)
    def answer(*arguments: Any) -> Any:
        try:
            return machine.submit(function, *arguments).result()
        except Exception as error:
            raise _declined(error) from error

    return answer


def choices() -> gr.Column:
    """The left column of a row: what is asked for."""
    return gr.Column(scale=2, min_width=280)


def results() -> gr.Column:
    """The right column of a row: what comes of it."""
    return gr.Column(scale=3, min_width=300)


def run_and_image(shown: Mapping[str, Shown]) -> tuple[gr.Dropdown, gr.Image, gr.Markdown]:
    """Which of these runs, an image for it, and room for what should be known of the image."""
    run = run_choice(shown)
    image = image_input("Image")
    held_out_button(shown, run, image)
    return run, image, gr.Markdown()


def run_choice(shown: Mapping[str, Shown]) -> gr.Dropdown:
    """Which of these runs; to be seen only where there are several."""
    names = list(shown)
    return gr.Dropdown(names, value=names[0], label="Run", visible=len(names) > 1)


def image_input(label: str) -> gr.Image:
    """Where one drops or pastes an image; its file comes to us as it is, and undecoded."""
    image = gr.Image(
        label=label,
        sources=["upload", "clipboard"],
        type="filepath",
        format="png",
        buttons=[],
        height=HEIGHT,
        placeholder="Drop or paste an image here",
        elem_classes="upload",
    )
    image.preprocess = lambda payload: payload and payload.path
    return image


def picture(label: str, height: int | None = HEIGHT) -> gr.Image:
    """A picture that the page shows."""
    return gr.Image(
        label=label,
        format="png",
        interactive=False,
        height=height,
        buttons=["fullscreen"],
        elem_classes="picture",
    )


def held_out_button(
    shown: Mapping[str, Shown], run: gr.Dropdown, image: gr.Image, name: str = "held-out image"
) -> None:
    """A button that puts one of the images there that the model was not trained on, and says which
    one it is."""
    button = gr.Button(f"Take a {name}", size="sm")
    said = gr.Markdown()

    def take(chosen: str) -> tuple[Image, str]:
        return shown[chosen].held_out(random.randrange(2**31))

    on([button.click], take, run, [image, said])
    on([image.upload, image.clear], lambda: "", [], said)


def _declined(error: Exception) -> Exception:
    """What is said on the page in place of an error; of one that is ours, it is left as it is."""
    if isinstance(error, UserError):
        return gr.Error(str(error), print_exception=False)
    if lacks_memory(error):
        return gr.Error("There is not enough memory for this now.", print_exception=False)
    return error
