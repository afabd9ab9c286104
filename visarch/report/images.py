"""The pictures of a run, put into the page itself."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from visarch.report.markup import Html, element
from visarch.report.meaning import PICTURES, Picture, picture
from visarch.report.run import Run

_MOST_BYTES = 1_500_000
"""Size of a file above which the page holds a smaller copy of it."""
_MOST_PIXELS = 1600
_MOST_BYTES_OF_MANY, _MOST_PIXELS_OF_MANY = 200_000, 1000
_THUMBNAIL = 320
_MOST_THUMBNAILS = 8
_OVER_TIME = "samples"
_WIDE = 800
"""Pixels across from which a picture has a row to itself: it may hold text."""


def picture_figures(run: Run, problems: list[str]) -> list[Html]:
    """The latest picture of each name; adds to `problems` what cannot be read."""
    order = [*PICTURES.get(run.task, {}), *run.pictures]
    figures = []
    for name, by_step in sorted(run.pictures.items(), key=lambda item: order.index(item[0])):
        step = max(by_step)
        known = picture(run.task, name)
        image = _embedded(by_step[step], known, _MOST_BYTES, _MOST_PIXELS, problems)
        if image:
            heading = element("p", element("strong", known.title), " ", _at(step))
            caption = element("p", element("small", known.caption))
            figcaption = element("figcaption", heading, caption)
            figures.append(element("figure", figcaption, image.html, class_=image.layout))
    return figures


def figure_beside_others(run: Run, name: str, who: Html, problems: list[str]) -> Html | None:
    """The latest picture of a name, under whose it is; smaller, as there are many. None where there
    is none; adds to `problems` what cannot be read."""
    by_step = run.pictures.get(name)
    if not by_step:
        return None
    step, unread = max(by_step), list[str]()
    known = picture(run.task, name)
    image = _embedded(by_step[step], known, _MOST_BYTES_OF_MANY, _MOST_PIXELS_OF_MANY, unread)
    problems += [f"{run.path}: {problem}" for problem in unread]
    if not image:
        return None
    figcaption = element("figcaption", who, " ", _at(step))
    return element("figure", figcaption, image.html, class_=image.layout)


def over_time(run: Run, problems: list[str]) -> list[Html]:
    """Thumbnails of the samples from the first step to the last; none if there is one step only."""
    by_step = run.pictures.get(_OVER_TIME, {})
    steps = sorted(by_step)
    if len(steps) < 2:
        return []
    if len(steps) > _MOST_THUMBNAILS:
        last = len(steps) - 1
        steps = [steps[round(i * last / (_MOST_THUMBNAILS - 1))] for i in range(_MOST_THUMBNAILS)]
    figures = []
    for step in steps:
        image = _thumbnail(by_step[step], f"Samples at step {step}", problems)
        if image:
            figures.append(element("figure", image, element("figcaption", _at(step))))
    return figures


class _Shown(NamedTuple):
    """A picture in the page."""

    html: Html
    layout: str | None
    """The class of the figure that it is in."""


def _at(step: int) -> Html:
    return element("small", f"step {step:,}")


def _embedded(
    path: Path, known: Picture, most_bytes: int, longest: int, problems: list[str]
) -> _Shown | None:
    """A picture as it is, or a smaller copy of one that would make the page heavy."""
    image = _open(path, problems)
    if image is None:
        return None
    content, kind, title = path.read_bytes(), "png", known.title
    if len(content) > most_bytes:
        content, kind = _jpeg(image, longest), "jpeg"
        title += f" (smaller copy of {path.parent.name}/{path.name})"
    shown = _image(content, kind, image.size, title, "ink" if known.chart else None)
    return _Shown(shown, "wide" if image.width >= _WIDE else None)


def _thumbnail(path: Path, title: str, problems: list[str]) -> Html | None:
    image = _open(path, problems)
    if image is None:
        return None
    return _image(_jpeg(image, _THUMBNAIL), "jpeg", image.size, title, None)


def _open(path: Path, problems: list[str]) -> Image.Image | None:
    """A picture read to its end; None, and a problem more, where that cannot be done."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for damaged files
        problem = f"{path.parent.name}/{path.name} cannot be read ({error}) and was left out."
        if problem not in problems:
            problems.append(problem)
        return None


def _jpeg(image: Image.Image, longest: int) -> bytes:
    copy = image.convert("RGB")
    copy.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def _image(
    content: bytes, kind: str, size: tuple[int, int], title: str, class_: str | None
) -> Html:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    width, height = size
    return element("img", src=source, alt=title, width=width, height=height, class_=class_)
