"""The page: a tab for each task that its runs were trained for, and one that looks inside."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.server_messages import UnexpectedErrorMessage

from visarch.web.classify import classify_tab
from visarch.web.encode import encode_tab
from visarch.web.generate import generate_tab
from visarch.web.inside import inside_tab
from visarch.web.shelf import Shelf

TITLE = "visarch"
_QUEUE = 32
"""Questions that may wait; whoever asks one more is told to come again."""
_SESSIONS = 256
"""Visitors of whom is remembered what they have before them."""
_UNHEARD = 256
"""Messages, at most, that wait for visitors who do not listen."""

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

CSS = """
.gradio-container { width: 100%; max-width: 1120px !important; margin: 0 auto !important; }
.gradio-container main { width: 100%; }
.drawing { overflow-x: auto; }
.drawing svg { display: block; max-width: none; height: auto; }
.drawing text { pointer-events: none; }
.drawing [data-step] { cursor: pointer; }
.picture .image-container, .picture .grid-wrap { padding-top: 34px; }
.picture .grid-wrap { max-height: none !important; overflow: visible; }
.picture .caption-label {
  max-width: 100%; overflow: visible; white-space: normal; overflow-wrap: anywhere;
  font-size: 12px; line-height: 1.3; padding: 2px 6px;
}
.picture .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)) !important;
}
.upload img { width: 100%; height: 100%; object-fit: contain; }
.matrix-name { font: italic 17px serif; fill: var(--body-text-color); }
.matrix-frame { fill: var(--background-fill-primary); stroke: var(--border-color-primary); }
footer { display: none !important; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  .picture-first { flex-direction: column-reverse; }
  .picture-first > * { width: 100%; }
  .tab-container button { padding: 0 7px !important; font-size: 14px !important; }
}
"""

PASTE = """() => document.addEventListener("paste", event => {
    const image = [...event.clipboardData.files].find(file => file.type.startsWith("image/"));
    const places = [...document.querySelectorAll('[role="tabpanel"] input[type="file"]')];
    const place = places.find(place => place.closest('[role="tabpanel"]').offsetParent);
    if (!image || !place) return;
    const files = new DataTransfer();
    files.items.add(image);
    place.files = files.files;
    place.dispatchEvent(new Event("change", {bubbles: true}));
})"""
"""Ctrl-V: what is pasted goes where the first image is still missing."""


def theme() -> gr.themes.Base:
    """Calm colors, and the fonts that are there: none is fetched."""
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", radius_size="md", font=FONTS, font_mono=MONO
    )


class Page(gr.Blocks):
    """A page that reads a question before it computes: a value that does not belong there is
    told to whoever sent it, and is no error of the page."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        try:
            values = await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error as error:
            raise gr.Error(error.message, print_exception=False) from error
        except Exception as error:
            raise gr.Error("This question has a wrong value.", print_exception=False) from error
        for block, value in zip(block_fn.inputs, values, strict=True):
            if isinstance(block, (gr.Dropdown, gr.Radio)) and not isinstance(value, str):
                said = f"{block.label}: choose one of those that are there."
                raise gr.Error(said, print_exception=False)
        return values

    def forget(self) -> None:
        """Drop what waits for visitors who do not listen, where it is too much, and tell them so
        should they come back; and the list of files that there have been, which only grows."""
        for files in self.temp_file_sets:
            files.clear()
        waiting = list(self._queue.pending_messages_per_session.values())
        while sum(max(0, messages.qsize() - 1) for messages in waiting) > _UNHEARD:
            fullest = max(waiting, key=lambda messages: messages.qsize())
            while not fullest.empty():
                fullest.get_nowait()
            fullest.put_nowait(UnexpectedErrorMessage(message="You have not listened: ask again."))


def build(shelf: Shelf) -> Page:
    """The page of these runs."""
    with Page(analytics_enabled=False, title=TITLE) as page:
        gr.Markdown(f"# {TITLE}\n\n{_listed(shelf)}")
        with gr.Tabs():
            if shelf.classifiers:
                with gr.Tab("Classify"):
                    classify_tab(shelf.classifiers)
            if shelf.vaes:
                with gr.Tab("Encode"):
                    encode_tab(shelf.vaes)
            if shelf.denoisers:
                with gr.Tab("Generate"):
                    generate_tab(shelf.denoisers)
            with gr.Tab("Look inside"):
                inside_tab(shelf.all)
    page.state_session_capacity = _SESSIONS
    page.queue(max_size=_QUEUE, default_concurrency_limit=1)
    return page


def _listed(shelf: Shelf) -> str:
    return " · ".join(f"`{name}` ({shown.run.task})" for name, shown in shelf.all.items())
