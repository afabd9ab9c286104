"""The tab of VAEs: reconstructions, the latent space under sliders, ways through it, samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr
import torch
from PIL.Image import Image
from torch import Tensor

from visarch.data import Split
from visarch.describe.description import symbol
from visarch.errors import UserError
from visarch.inference.splits import first_image
from visarch.inference.vae import decode, embed, interpolate, reconstruct, sample
from visarch.pictures import beside, grid, tile
from visarch.web.parts import (
    HEIGHT,
    choices,
    held_out_button,
    image_input,
    on,
    picture,
    results,
    run_and_image,
)
from visarch.web.shelf import ShownVAE
from visarch.web.uploads import read_upload

_SLIDERS = 8
_REACH = 4.0
"""Standard deviations of the prior that a slider reaches, unless an image lies farther out."""
_ON_THE_WAY = 9
_UNSORTED = "Without its data it is not known what they tell: these are the first by number."
_MOST_SAMPLES = 64


def encode_tab(shown: Mapping[str, ShownVAE]) -> None:
    """Two images, sliders, a way, samples."""
    with gr.Row():
        with choices():
            run, image, note = run_and_image(shown)
        with results():
            pair = picture("Image, and its reconstruction g(f(x)) below")
    mean = gr.State()
    latent = gr.Accordion("Latent dimensions: those first that tell most of an image")
    with latent, gr.Row(elem_classes="picture-first"):
        with choices():
            unsorted = gr.Markdown()
            sliders = [
                gr.Slider(-_REACH, _REACH, value=0, step=0.05, label=f"z{number}", visible=False)
                for number in range(_SLIDERS)
            ]
        with results():
            decoded = picture("g(z)")
    with gr.Accordion("The way to another image"), gr.Row():
        with choices():
            other = image_input("Another image")
            held_out_button(shown, run, other, "second held-out image")
        with results():
            way = picture("Along the straight line between both posterior means")
    with gr.Accordion("Samples"), gr.Row():
        with choices():
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
            count = gr.Slider(1, _MOST_SAMPLES, value=16, step=1, label="How many")
            draw = gr.Button("Draw samples", variant="primary")
        with results():
            samples = picture("g(z) for z ~ N(0, I)")

    def encode(name: str, file: str | None) -> tuple[Any, ...]:
        own = shown[name]
        if file is None:
            return None, "", *_placed(own, None)
        split, noted = read_upload(file, own.run)
        both = reconstruct(own.run.model, split, own.levels)
        originals, reconstructions = map(_enlarged, both)
        return beside(originals, reconstructions), noted, *_placed(own, split)

    def move(name: str, z: Tensor | None, *values: float) -> Image:
        if z is None:
            raise UserError("The page no longer knows what was here: open it anew.")
        own = shown[name]
        moved = z.clone()  # the image stays where it is
        for dimension, value in zip(own.order, values, strict=False):
            moved[dimension] = float(value)
        return _one(decode(own.run.model, moved[None]))

    def walk(name: str, start: str | None, end: str | None) -> Image | None:
        if start is None or end is None:
            return None
        own = shown[name]
        images = [first_image(read_upload(file, own.run)[0]) for file in (start, end)]
        ends = Split("ends", torch.cat(images), None, ["a", "b"])
        return grid(interpolate(own.run.model, ends, own.levels, _ON_THE_WAY), _ON_THE_WAY)

    def drawn(name: str, seed: float, count: float) -> Image:
        own, number = shown[name], min(max(int(count), 1), _MOST_SAMPLES)
        images = sample(own.run.model, number, int(seed or 0))
        return grid(images, math.ceil(math.sqrt(number)))

    placed = [mean, decoded, unsorted, *sliders]
    on([image.change, run.input], encode, [run, image], [pair, note, *placed])
    on([slider.release for slider in sliders], move, [run, mean, *sliders], decoded)
    on([image.change, other.change, run.input], walk, [run, image, other], way)
    on([draw.click], drawn, [run, seed, count], samples)
    blocks = gr.context.Context.root_block
    on([blocks.load], lambda name: _placed(shown[name], None), run, placed)


def _placed(shown: ShownVAE, split: Split | None) -> tuple[Any, ...]:
    """z of an image, or 0; what is decoded from it; what is said of the sliders' order; and the
    sliders where it lies."""
    model = shown.run.model
    if split is None:
        z = torch.zeros(model.config.latent_dim)
    else:
        z = embed(model, split, shown.levels)[0][0]
    said = _UNSORTED if shown.information is None else ""
    sliders = [_slider(shown, rank, z) for rank in range(_SLIDERS)]
    return z, _one(decode(model, z[None])), said, *sliders


def _slider(shown: ShownVAE, rank: int, z: Tensor) -> Any:
    """The slider of the latent dimension of this rank."""
    if rank >= len(shown.order):
        return gr.Slider(visible=False)
    dimension = shown.order[rank]
    value = round(float(z[dimension]), 2)
    reach = max(_REACH, math.ceil(abs(value)))
    told = "" if shown.information is None else f" · {shown.information[dimension]:.2f} nats"
    label = f"{symbol(f'z{dimension}')}{told}"
    return gr.Slider(minimum=-reach, maximum=reach, value=value, label=label, visible=True)


def _one(images: Tensor) -> Image:
    return tile(images[0], HEIGHT - 20)


def _enlarged(images: Tensor) -> Tensor:
    """Small images in whole multiples of their size."""
    scale = max(1, (HEIGHT // 2 - 10) // images.shape[-2])
    return images.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
