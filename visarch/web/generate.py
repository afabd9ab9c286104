"""The tab of diffusion models: pictures as they come out of noise."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL.Image import Image
from torch import Tensor

from visarch.errors import UserError
from visarch.inference.asking import NONE, asked, drawing_facts, told
from visarch.inference.diffusion import sample
from visarch.inference.recipe import Recipe, num_classes
from visarch.outputs import save_picture
from visarch.pictures import grid
from visarch.sampling import SAMPLERS
from visarch.web.film import streamed
from visarch.web.parts import choices, on, picture, results, run_choice
from visarch.web.shelf import ShownDenoiser

EACH = "each class in turn"
_MOST, _MOST_STEPS, _MOST_GUIDANCE, _FRAMES = 16, 250, 8.0, 40


class Wish(NamedTuple):
    """What someone asks for."""

    label: str = EACH
    vector: str | None = None
    """Numbers, with spaces or commas between them; by default what is usual for the model."""
    sampler: str = ""
    steps: float = 0
    guidance: float = 0
    seed: float = 0
    images: float = _MOST


def generate_tab(shown: Mapping[str, ShownDenoiser]) -> None:
    """What is asked for on the left; the film, and then the pictures, on the right."""
    first = next(iter(shown.values()))
    with gr.Row():
        with choices():
            run = run_choice(shown)
            asking = list(_asking(first))
            seed = gr.Number(
                first.run.seed, label="Seed", precision=0, minimum=0, maximum=2**31 - 1
            )
            count = gr.Slider(1, _MOST, value=_MOST, step=1, label="How many")
            with gr.Row():
                draw = gr.Button("Draw", variant="primary")
                stop = gr.Button("Stop")
        with results():
            film = picture("From noise to pictures", height=None)
            said = gr.Markdown()
            file = gr.DownloadButton("Download, with the seed in the file", interactive=False)

    def drawn(name: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        frames = 0
        work = draw_pictures(shown[name], Wish(*values))
        while True:
            try:
                frame = next(work)
            except StopIteration as end:
                path, facts = end.value
                break
            frames += 1
            yield frame, f"Frame {frames}", gr.DownloadButton(interactive=False)
        listed = ", ".join(f"{key} {value}" for key, value in facts.items())
        yield str(path), f"Drawn: {listed}.", gr.DownloadButton(value=str(path), interactive=True)

    inputs = [run, *asking, seed, count]
    started = on([draw.click], drawn, inputs, [film, said, file])
    stop.click(None, cancels=[started], api_visibility="private")
    on([run.input], lambda name: tuple(_asking(shown[name])), run, asking)


def draw_pictures(
    shown: ShownDenoiser, wish: Wish
) -> Generator[Image, None, tuple[Path, dict[str, str]]]:
    """The film, frame by frame; returns the file of the pictures and what is kept in it.

    Raises:
        UserError: something is asked for that the model does not know.
    """
    run, shape = shown.run, shown.run.preparation.shape
    recipe = wished(shown.recipe, wish)
    count, seed = min(max(int(wish.images), 1), _MOST), max(int(wish.seed or 0), 0)
    labels = None if wish.label == EACH or not num_classes(run.model) else [wish.label]
    vector = numbers(wish.vector) if wish.vector and wish.vector.strip() else None
    condition = asked(run, recipe, labels, vector, count)
    columns = math.ceil(math.sqrt(count))

    def work(tell: Any) -> Tensor:
        return sample(
            run.model,
            recipe,
            shape,
            range(count),
            seed,
            condition,
            frames=_FRAMES,
            seen=lambda images: tell(grid(images, columns)),
        ).images

    images = yield from streamed(work)
    facts = drawing_facts(run, recipe, condition, seed) | told(run, condition)
    path = Path(tempfile.mkdtemp()) / f"samples-{count}-seed-{seed}.png"
    save_picture(path, grid(images, columns), facts)
    return path, facts


def wished(recipe: Recipe, wish: Wish) -> Recipe:
    """The model's own recipe, with what is asked for."""
    sampler = wish.sampler if wish.sampler in SAMPLERS else recipe.sampler
    steps = min(max(int(wish.steps), 1), _MOST_STEPS)
    return replace(recipe, sampler=sampler, steps=steps, guidance=float(wish.guidance))


def numbers(text: str) -> list[float]:
    """The numbers that someone typed.

    Raises:
        UserError: it is something else.
    """
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(
            f"The context vector is {text.strip()!r}: give numbers with spaces between them."
        ) from error


def _asking(shown: ShownDenoiser) -> Sequence[Any]:
    """What is to be chosen for this model: label, vector, sampler, steps, guidance."""
    run, recipe = shown.run, shown.recipe
    classes, length = num_classes(run.model), run.model.context.vector_dim
    names = list(run.classes or map(str, range(classes)))
    nothing = [NONE] if recipe.label_dropout > 0 else []
    vectors = " ".join(run.vector_names or ()) or f"{length} numbers"
    return (
        gr.Dropdown([EACH, *names, *nothing], value=EACH, label="Class", visible=classes > 0),
        gr.Textbox(
            label=f"Context vector ({vectors})",
            placeholder="as in the data; by default examples of it",
            visible=length is not None,
            max_length=1000,
        ),
        gr.Dropdown(list(SAMPLERS), value=recipe.sampler, label="Sampler"),
        gr.Slider(1, _MOST_STEPS, value=recipe.steps, step=1, label="Steps"),
        gr.Slider(
            0,
            _MOST_GUIDANCE,
            value=min(recipe.guidance, _MOST_GUIDANCE),
            step=0.1,
            label="Guidance",
            visible=classes > 0 and recipe.label_dropout > 0,
        ),
    )
