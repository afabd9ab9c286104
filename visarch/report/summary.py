"""The top of the page: what was trained, how well it went, and what to beware of."""

import math
from collections.abc import Iterator

from visarch.evaluation.vae import collapse_warning
from visarch.report.curves import training_seconds
from visarch.report.markup import Html, element, table, together
from visarch.report.meaning import HEADLINE, METRICS, TASKS, meaning
from visarch.report.run import Result, Run
from visarch.report.spelling import duration, number


def heading(run: Run) -> Html:
    """The run's name, how far it is, and its facts."""
    of = f" of {run.total_steps:,}" if run.total_steps else ""
    status = (
        element("span", f"finished after {run.step:,} steps", class_="badge")
        if run.finished
        else element("span", f"not finished: {run.step:,}{of} steps done", class_="badge open")
    )
    return together(
        element("p", f"visarch · {TASKS.get(run.task, run.task)}", class_="eyebrow"),
        element("h1", run.path.resolve().name),
        element("p", status),
        element("dl", *(_fact(name, value) for name, value in _facts(run)), class_="facts"),
    )


def alarms(run: Run) -> Iterator[str]:
    """What the reader has to know before trusting a number."""
    judged = _judged(run)
    if judged:
        yield from _collapse(run, judged)
        bad = [meaning(name).title for name, v in judged.metrics.items() if not math.isfinite(v)]
        if bad:
            yield f"Not finite on the {judged.split} images: {', '.join(bad)}."
    skipped = max((row.get("skipped_steps", 0.0) for row in run.rows), default=0.0)
    if skipped:
        steps = "1 step was" if skipped == 1 else f"{number(skipped)} steps were"
        yield f"{steps} skipped because loss or gradient was not finite; they changed nothing."
    if judged and run.evaluation and not run.finished:
        yield (
            f"The results were measured after step {judged.step:,}; the run has gone on to step "
            f"{run.step:,} since, and is not finished."
        )


def results(run: Run) -> Html | None:
    """What was measured: the judged split in large, and all splits in a table."""
    judged = _judged(run)
    if not judged:
        return None
    order = [HEADLINE.get(run.task, ""), *METRICS, *judged.metrics]
    names = sorted(judged.metrics, key=order.index)
    tiles = [
        element(
            "div",
            element("dt", meaning(name).title),
            element("dd", number(judged.metrics[name]), element("small", _aside(name, run))),
            class_="first" if name == order[0] else None,
        )
        for name in names
    ]
    count = (run.splits.get(judged.split) or {}).get("count")
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
    count = ((run.data.get("splits") or {}).get("train") or {}).get("count")
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
    if "batch_size" in run.config:
        yield "Images per step", number(run.config["batch_size"])
    seconds = training_seconds(run)
    if seconds:
        yield "Training time", f"about {duration(seconds)}"
    if run.starts:
        yield "Device", str(run.starts[-1].get("device", "unknown"))
        yield "Started", str(run.starts[0].get("started", "unknown"))[:16].replace("T", " ")


def _fact(name: str, value: str) -> Html:
    return element("div", element("dt", name), element("dd", value))


def _judged(run: Run) -> Result | None:
    """The result that stands for the run: on the test images, if there are any."""
    by_split = {result.split: result for result in run.results}
    return by_split.get("test") or by_split.get("validation") or next(iter(by_split.values()), None)


def _collapse(run: Run, judged: Result) -> Iterator[str]:
    """Whether the latents say nothing."""
    kl, active = judged.metrics.get("KL", math.nan), judged.metrics.get("active units", math.nan)
    latent_dim = _latent_dim(run)
    if run.task == "vae" and latent_dim and math.isfinite(kl) and math.isfinite(active):
        warning = collapse_warning(kl, int(active), latent_dim)
        if warning:
            yield warning


def _aside(name: str, run: Run) -> str | None:
    """What a number is to be compared with, or its unit."""
    if name == "bits/dim" and run.levels:
        return f"raw pixels take {math.log2(run.levels):.3g}"
    if name == "active units" and _latent_dim(run):
        return f"of {_latent_dim(run)}"
    return meaning(name).unit or None


def _latent_dim(run: Run) -> int | None:
    return (run.config.get("model") or {}).get("latent_dim")


def _every_split(results: list[Result], names: list[str]) -> Html | None:
    """All results side by side, with what they mean."""
    rows = [
        [
            meaning(name).title,
            *(number(result.metrics.get(name, math.nan)) for result in results),
            element("small", meaning(name).text),
        ]
        for name in names
    ]
    head = ["", *(result.split for result in results), ""]
    numbers = range(1, 1 + len(results))
    summary = element("summary", "What these mean, and every split")
    return element("details", summary, table(head, rows, numbers=numbers))
