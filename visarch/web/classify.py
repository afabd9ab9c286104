"""The tab of classifiers: what an image is, why, and what it is like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import torch
from PIL.Image import Image

from visarch.data import Split, to_unit
from visarch.data.reading import Progress
from visarch.errors import UserError
from visarch.inference.classifier import embed, logits
from visarch.inference.evidence import activation_map
from visarch.pictures import tile
from visarch.web import machine
from visarch.web.overlay import over
from visarch.web.parts import HEIGHT, choices, on, picture, results, run_and_image
from visarch.web.shelf import ShownClassifier
from visarch.web.uploads import read_upload

_LIKELIEST = "the likeliest class"
_NEIGHBORS = 8


def classify_tab(shown: Mapping[str, ShownClassifier]) -> None:
    """Image in; probabilities, heat map and nearest training images out."""
    first = next(iter(shown.values()))
    with gr.Row():
        with choices():
            run, image, note = run_and_image(shown)
            wanted = gr.Dropdown(_classes(first), value=_LIKELIEST, label="Heat map of")
        with results():
            chances = gr.Label(label="Probabilities", num_top_classes=5)
            heat = picture("Heat map: red speaks for the class, blue against it")
            nearest = gr.Gallery(
                label="Nearest training images, by features",
                columns=4,
                height="auto",
                object_fit="contain",
                format="png",
                buttons=[],
                interactive=False,
                allow_preview=False,
                elem_classes="picture",
            )
            missing = gr.Markdown()

    def answer(name: str, file: str | None, of: str) -> tuple[Any, ...]:
        if file is None:
            return None, None, ""
        own = shown[name]
        split, noted = read_upload(file, own.run)
        return probabilities_of(own, split), heat_map(own, split, _class(of)), noted

    def repaint(name: str, file: str | None, of: str) -> Image | None:
        if file is None:
            return None
        own = shown[name]
        return heat_map(own, read_upload(file, own.run)[0], _class(of))

    def look_around(
        name: str,
        file: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008, by which Gradio knows it
    ) -> tuple[list[tuple[Image, str]], str]:
        if file is None:
            return [], ""
        own = shown[name]

        def tell(done: int, total: int) -> None:
            machine.go_on()
            progress((done, total), desc="Reading the training images, this once")

        split, _ = read_upload(file, own.run)
        try:
            return neighbors(own, split, tell), ""
        except UserError:  # the data has moved on, and the rest can still be done
            return [], f"There are none to show: what {name} was trained on is not to be had."

    outputs = [chances, heat, note]
    on([image.change], answer, [run, image, wanted], outputs)
    on([image.change], look_around, [run, image], [nearest, missing])
    on([wanted.input], repaint, [run, image, wanted], heat)
    on([run.input], lambda name: gr.Dropdown(_classes(shown[name]), value=_LIKELIEST), run, wanted)
    on([run.input], lambda name, file: answer(name, file, _LIKELIEST), [run, image], outputs)
    on([run.input], look_around, [run, image], [nearest, missing])


def probabilities_of(shown: ShownClassifier, split: Split) -> dict[str, float]:
    """The probability of each class."""
    shares = logits(shown.run.model, split, shown.levels).softmax(1)[0]
    return dict(zip(shown.classes, shares.tolist(), strict=True))


def heat_map(shown: ShownClassifier, split: Split, of: str | None) -> Image:
    """The image under what speaks for a class, by default for the likeliest."""
    model = shown.run.model
    if of is None:
        label = int(logits(model, split, shown.levels).argmax())
    else:
        label = shown.classes.index(of)
    evidence = activation_map(model, split, shown.levels, label)
    return over(shown.unit(split).cpu(), evidence, HEIGHT)


def neighbors(
    shown: ShownClassifier, split: Split, progress: Progress = lambda done, total: None
) -> list[tuple[Image, str]]:
    """The nearest training images, each with what it is called.

    `progress` is told how many of them are read, where they must be.

    Raises:
        UserError: they are not to be had.
    """
    index = shown.index(progress)
    features = embed(shown.run.model, split, shown.levels)[0]
    found = []
    for position, similarity in index.nearest(features, _NEIGHBORS):
        stored = index.split.read(torch.tensor([position]))
        label = -1 if stored.labels is None else int(stored.labels[0])
        name = shown.data.classes[label] if label >= 0 and shown.data.classes else ""
        caption = f"{name} · {similarity:.2f}" if name else f"{similarity:.2f}"
        found.append((tile(to_unit(stored.images[0], shown.levels), 96), caption))
    return found


def _class(chosen: str) -> str | None:
    return None if chosen == _LIKELIEST else chosen


def _classes(shown: ShownClassifier) -> list[str]:
    return [_LIKELIEST, *shown.classes]
