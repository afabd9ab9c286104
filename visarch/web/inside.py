"""The tab that looks inside: a network's drawing, its feature maps, and what a convolution is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from torch import Tensor

from visarch.data import Split
from visarch.describe.description import Description, symbol, times
from visarch.describe.drawing import draw
from visarch.describe.networks import describe
from visarch.inference.maps import denoiser_maps, resnet_maps, vae_maps
from visarch.web.matrix import draw_matrix
from visarch.web.overlay import MOST_MAPS, sheet
from visarch.web.parts import (
    choices,
    held_out_button,
    image_input,
    on,
    picture,
    results,
    run_choice,
)
from visarch.web.shelf import Shown, ShownClassifier, ShownDenoiser, ShownVAE
from visarch.web.uploads import NO_IMAGE, read_upload

_DIMENSIONS = {"1-d": 1, "2-d": 2}
_IMAGE = "x"
_CHOSEN = '[data-step="${step}"] { stroke: #e11d48; stroke-width: 3px; }'
_TELL_STEP = """
element.addEventListener("click", event => {
  const tile = event.target.closest("[data-step]");
  if (tile) trigger("click", {step: tile.dataset.step});
});
"""


def inside_tab(shown: Mapping[str, Shown]) -> None:
    """The network; the feature maps of a step; V and Vᵀ."""
    first = next(iter(shown.values()))
    run = run_choice(shown)
    drawing = gr.HTML(
        _drawing(first),
        step=_IMAGE,
        css_template=_CHOSEN,
        js_on_load=_TELL_STEP,
        elem_classes="drawing",
    )
    with gr.Row():
        with choices():
            image = image_input("Image")
            held_out_button(shown, run, image)
            step = _step_choice(first)
            time = gr.Slider(
                0.02,
                1,
                value=0.5,
                step=0.01,
                label="Time t of the noise",
                visible=isinstance(first, ShownDenoiser),
            )
        with results():
            maps = picture("Feature maps", height=None)
            said = gr.Markdown(NO_IMAGE)

    def look(name: str, file: str | None, step: str, t: float) -> tuple[Any, ...]:
        """The drawing with the step marked, its feature maps, and what is said of them."""
        if file is None:
            return gr.HTML(step=step), None, NO_IMAGE
        own = shown[name]
        split, noted = read_upload(file, own.run)
        found = feature_maps(own, split, float(t))
        if step not in found:  # it was another run's
            step = _IMAGE
        told = " ".join(filter(None, [_said(step, found[step]), noted]))
        return gr.HTML(step=step), sheet(found[step]), told

    def point(name: str, file: str | None, t: float, event: gr.EventData) -> tuple[Any, ...]:
        clicked = event._data.get("step") if isinstance(event._data, dict) else None
        step = clicked if clicked in steps(shown[name]) else _IMAGE
        return step, *look(name, file, step, t)

    def other(name: str, file: str | None, t: float) -> tuple[Any, ...]:
        own = shown[name]
        drawn = gr.HTML(_drawing(own), step=_IMAGE)
        slider = gr.Slider(visible=isinstance(own, ShownDenoiser))
        return _step_choice(own), slider, drawn, *look(name, file, _IMAGE, t)[1:]

    seen = [drawing, maps, said]
    on([image.change, step.input, time.release], look, [run, image, step, time], seen)
    on([drawing.click], point, [run, image, time], [step, *seen])
    on([run.input], other, [run, image, time], [step, time, *seen])
    matrix_part()


def matrix_part() -> None:
    """The matrix of a small convolution under sliders."""
    gr.Markdown(
        "### A convolution is a matrix\n\n"
        "One channel in, one out. Each color is one number of the filter, which stands in V as "
        "often as the filter is laid on the image; what would fall on the padding is left out."
    )
    with gr.Row():
        with choices():
            ndim = gr.Radio(list(_DIMENSIONS), value="1-d", label="Image")
            size = gr.Slider(3, 8, value=7, step=1, label="Side H")
            kernel = gr.Slider(1, 5, value=3, step=1, label="Filter F")
            stride = gr.Slider(1, 4, value=1, step=1, label="Stride S")
            padding = gr.Slider(0, 4, value=1, step=1, label="Padding P")
        first = draw_matrix(1, 7, 3, 1, 1)
        with results():
            matrix = gr.HTML(first.svg, elem_classes="drawing")
            lemmas = gr.Markdown(first.said)

    def drawn(kind: str, *sizes: float) -> tuple[str, str]:
        return draw_matrix(_DIMENSIONS[kind], *map(int, sizes))

    controls = [ndim, size, kernel, stride, padding]
    on([control.change for control in controls], drawn, controls, [matrix, lemmas])


def feature_maps(shown: Shown, split: Split, t: float) -> dict[str, Tensor]:
    """What comes out of each step for the first image of a split."""
    x = shown.unit(split)
    if isinstance(shown, ShownClassifier):
        return resnet_maps(shown.run.model, x)
    if isinstance(shown, ShownVAE):
        return vae_maps(shown.run.model, x)
    assert isinstance(shown, ShownDenoiser)
    return denoiser_maps(shown.run.model, shown.recipe, x, t)


def steps(shown: Shown) -> list[str]:
    """What can be looked at: the image, and what is drawn behind it, in its order."""
    return [_IMAGE, *(step.name for step in _description(shown).steps if step.name != "u")]


def _step_choice(shown: Shown) -> gr.Dropdown:
    """The steps as the note writes them, the image chosen."""
    names = steps(shown)
    label = "Step, or click one in the drawing"
    return gr.Dropdown([(symbol(name), name) for name in names], value=_IMAGE, label=label)


def _description(shown: Shown) -> Description:
    return describe(shown.run.model, shown.run.preparation.shape[1:])


def _drawing(shown: Shown) -> str:
    return draw(_description(shown))


def _said(step: str, maps: Tensor) -> str:
    low, high = float(maps.min()), float(maps.max())
    first = f" The first {MOST_MAPS} are shown." if maps.ndim == 3 and len(maps) > MOST_MAPS else ""
    values = f"values from {low:.3g} to {high:.3g}" if low < high else f"value {low:.3g}"
    return f"{symbol(step)}: {times(maps.shape)}, {values}.{first}"
