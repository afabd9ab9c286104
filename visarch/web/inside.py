"""The tab that looks inside: a network's drawing, its feature maps, and what a convolution is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL.Image import Image
from torch import Tensor

from visarch.data import Split
from visarch.describe.description import Description, symbol, times
from visarch.describe.drawing import draw
from visarch.describe.networks import describe
from visarch.inference.maps import denoiser_maps, resnet_maps, vae_maps
from visarch.web.matrix import draw_matrix
from visarch.web.overlay import sheet
from visarch.web.parts import held_out_button, image_input, on, picture, run_choice
from visarch.web.shelf import Shown, ShownClassifier, ShownDenoiser, ShownVAE
from visarch.web.uploads import read_upload

_DIMENSIONS = {"1-d": 1, "2-d": 2}


def inside_tab(shown: Mapping[str, Shown]) -> None:
    """The network; the feature maps of a step; V and Vᵀ."""
    first = next(iter(shown.values()))
    run = run_choice(shown)
    drawing = gr.HTML(_drawing(first), elem_classes="drawing")
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
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
        with gr.Column(scale=3, min_width=300):
            maps = picture("Feature maps", height=None)
            said = gr.Markdown()
    matrix_part()

    def look(name: str, file: str | None, step: str, t: float) -> tuple[Image | None, str]:
        if file is None:
            return None, ""
        own = shown[name]
        split, noted = read_upload(file, own.run)
        found = feature_maps(own, split, float(t))
        chosen = step if step in found else next(iter(found))
        return sheet(found[chosen]), " ".join(filter(None, [_said(found, chosen), noted]))

    def other(name: str, file: str | None, t: float) -> tuple[Any, ...]:
        own = shown[name]
        slider = gr.Slider(visible=isinstance(own, ShownDenoiser))
        return _drawing(own), _step_choice(own), slider, *look(name, file, steps(own)[0], t)

    on([image.change, step.input, time.release], look, [run, image, step, time], [maps, said])
    on([run.input], other, [run, image, time], [drawing, step, time, maps, said])


def matrix_part() -> None:
    """The matrix of a small convolution under sliders."""
    gr.Markdown(
        "### A convolution is a matrix\n\n"
        "One channel in, one out. Each color is one number of the filter, which stands in V as "
        "often as the filter is laid on the image; what would fall on the padding is left out."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            ndim = gr.Radio(list(_DIMENSIONS), value="1-d", label="Image")
            size = gr.Slider(3, 8, value=7, step=1, label="Side H")
            kernel = gr.Slider(1, 5, value=3, step=1, label="Filter F")
            stride = gr.Slider(1, 4, value=1, step=1, label="Stride S")
            padding = gr.Slider(0, 4, value=1, step=1, label="Padding P")
        first = draw_matrix(1, 7, 3, 1, 1)
        with gr.Column(scale=3, min_width=300):
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
    """Those whose outcome can be looked at, in their order."""
    names = [step.name for step in _description(shown).steps]
    if isinstance(shown, ShownDenoiser):
        return ["x_t", *(name for name in names if name != "u")]
    return [name for name in names if not name.endswith("f_var")]


def _step_choice(shown: Shown) -> gr.Dropdown:
    """The steps as the note writes them, the first one chosen."""
    names = steps(shown)
    return gr.Dropdown([(symbol(name), name) for name in names], value=names[0], label="Step")


def _description(shown: Shown) -> Description:
    return describe(shown.run.model, shown.run.preparation.shape[1:])


def _drawing(shown: Shown) -> str:
    return draw(_description(shown))


def _said(found: Mapping[str, Tensor], name: str) -> str:
    maps = found[name]
    low, high = float(maps.min()), float(maps.max())
    return f"{symbol(name)}: {times(maps.shape)}, values from {low:.3g} to {high:.3g}."
