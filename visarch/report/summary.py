"""The top of the page: what was trained, and how well it went."""

import math
from collections.abc import Iterator

from visarch.report.accuracy import guessing, interval
from visarch.report.curves import training_seconds
from visarch.report.markup import Html, element, table, together
from visarch.report.meaning import HEADLINE, TASKS, meaning, ordered
from visarch.report.run import Result, Run
from visarch.report.spelling import duration, number


def heading(run: Run) -> Html:
    """The run's name, how far it is, and its facts."""
    return together(
        element("p", f"visarch · {TASKS.get(run.task, run.task)}", class_="eyebrow"),
        element("h1", run.path.resolve().name),
        element("p", status(run)),
        element("dl", *(_fact(name, value) for name, value in _facts(run)), class_="facts"),
    )


def status(run: Run) -> Html:
    """How far the run is."""
    if run.finished:
        return element("span", f"finished after {run.step:,} steps", class_="badge")
    of = f" of {run.total_steps:,}" if run.total_steps else ""
    return element("span", f"not finished: {run.step:,}{of} steps done", class_="badge open")


def results(run: Run) -> Html | None:
    """What was measured: the judged split in large, and all splits in a table."""
    judged = run.judged
    if not judged:
        return None
    names = ordered(run.task, judged.metrics)
    tiles = [
        element(
            "div",
            element("dt", meaning(name).title),
            element(
                "dd",
                meaning(name).spelled(judged.metrics[name]),
                element("small", _aside(name, run, judged)),
            ),
            class_="first" if name == HEADLINE.get(run.task) else None,
        )
        for name in names
    ]
    count = run.count(judged.split)
    images = f"{count:,} {judged.split} images" if count else f"the {judged.split} images"
    return element(
        "section",
        element("h2", "Result ", element("small", f"on {images}, after step {judged.step:,}")),
        element("dl", *tiles, class_="tiles"),
        _every_split(run.results, names),
    )


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """The run in a few words."""
    yield "Data", str(run.data.get("source") or run.config.get("data", "unknown"))
    count = run.count("train")
    if count:
        yield "Training images", f"{count:,}"
    if run.image_shape:
        channels, *sides = run.image_shape
        kind = f"{channels} channels" if channels > 1 else "1 channel"
        if len(sides) == 2:
            kind = {1: "gray", 3: "color"}.get(channels, kind)
        yield "Image", f"{'×'.join(map(str, sides))}, {kind}"
    if run.num_parameters:
        yield "Parameters", f"{run.num_parameters:,}"
    batch_size = run.number("batch_size")
    if batch_size:
        yield "Images per step", number(batch_size)
    seconds = training_seconds(run)
    if seconds:
        yield "Training time", f"about {duration(seconds)}"
    if run.starts:
        yield "Device", str(run.starts[-1].get("device", "unknown"))
        yield "Started", str(run.starts[0].get("started", "unknown"))[:16].replace("T", " ")


def _fact(name: str, value: str) -> Html:
    return element("div", element("dt", name), element("dd", value))


def _aside(name: str, run: Run, judged: Result) -> str | None:
    """What a number is to be compared with, or its unit."""
    if name == "bits/dim" and run.levels:
        raw = f"raw pixels take {math.log2(run.levels):.3g}"
        return raw + ("; estimated on a part of the images" if run.task == "diffusion" else "")
    if name == "active units" and run.latent_dim:
        return f"of {run.latent_dim}"
    if name == "accuracy" and (bounds := interval(run, judged)):
        low, high = (f"{100 * bound:.1f}" for bound in bounds)
        guess = guessing(run, judged.split)
        return f"95 % interval {low}–{high}" + (f", guessing {100 * guess:.3g}" if guess else "")
    unit = meaning(name).unit
    return None if unit in ("", "%") else unit


def _every_split(results: list[Result], names: list[str]) -> Html | None:
    """All results side by side, with what they mean."""
    rows = [
        [
            meaning(name).title,
            *(_cell(name, result) for result in results),
            element("small", _text(name)),
        ]
        for name in names
    ]
    head = ["", *(result.split for result in results), ""]
    numbers = range(1, 1 + len(results))
    summary = element("summary", "What these mean, and every split")
    return element("details", summary, table(head, rows, numbers=numbers))


def _cell(name: str, result: Result) -> str:
    return meaning(name).spelled(result.metrics[name]) if name in result.metrics else "–"


def _text(name: str) -> str:
    """What a metric says, and which way it is better."""
    known = meaning(name)
    return "; ".join(filter(None, [known.text, known.better and f"{known.better} is better"]))
