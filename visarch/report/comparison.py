"""The page that puts runs side by side: what differs between them, and what came of it."""

from collections.abc import Sequence

from visarch.report.accuracy import interval
from visarch.report.curves import training_seconds
from visarch.report.group import (
    Difference,
    Entry,
    by_task,
    environment_apart,
    judged_splits,
    metrics,
    same_images,
    settings_apart,
    speed,
    splits,
    winners,
)
from visarch.report.images import figure_beside_others
from visarch.report.markup import Html, element, table, together
from visarch.report.meaning import HEADLINE, PICTURES, TASKS, meaning, picture
from visarch.report.overlay import key, legend, overlaid_figures
from visarch.report.page import document, grid
from visarch.report.run import Run
from visarch.report.spelling import duration, number


def comparison(runs: Sequence[Run], unreadable: Sequence[str]) -> str:
    """The whole page; runs of different tasks are in sections of their own.

    Args:
        runs: what to compare.
        unreadable: what could not be read at all, a sentence each.
    """
    problems = [f"{run.path}: {problem}" for run in runs for problem in run.problems]
    groups = list(by_task(runs).items())
    sections = [
        element(
            "section",
            element("h2", TASKS.get(task, task), " ", _count(len(entries)), id=f"task-{place}"),
            *_section(entries, problems),
            class_="group",
        )
        for place, (task, entries) in enumerate(groups)
    ]
    links = [
        element("a", TASKS.get(task, task), href=f"#task-{place}")
        for place, (task, _) in enumerate(groups)
    ]
    heading = f"{len(runs)} runs side by side" if len(runs) != 1 else "1 run"
    return document(
        heading,
        element(
            "header",
            element("p", "visarch · comparison", class_="eyebrow"),
            element("h1", heading),
            element("nav", *links) if len(links) > 1 else None,
        ),
        *(element("p", text, class_="alarm") for text in unreadable),
        *(element("p", text, class_="alarm mild") for text in problems),
        *sections,
    )


def _section(entries: Sequence[Entry], problems: list[str]) -> list[Html | None]:
    """What there is to tell of the runs of one task."""
    return [
        _overview(entries),
        *_results(entries),
        *_differences("Settings that differ", settings_apart(entries), entries),
        *_differences("Environments that differ", environment_apart(entries), entries),
        *_curves(entries),
        *_pictures(entries, problems),
    ]


def _curves(entries: Sequence[Entry]) -> list[Html | None]:
    """The same quantities of all runs in the same charts."""
    figures = overlaid_figures(entries)
    if not figures:
        return []
    # the legend stays in sight as long as there are charts
    return _part("Curves", element("div", legend(entries), grid("charts", figures)))


def _overview(entries: Sequence[Entry]) -> Html:
    """A line for each run: how far it is, what the task is judged by, and what it took."""
    headline = HEADLINE.get(entries[0].run.task, "")
    judged = judged_splits(entries)
    head = [
        "run",
        *(f"{meaning(headline).title}, {split}" for split in judged),
        *("steps", "training time", "images/s", "parameters", "device"),
    ]
    best = {split: winners(entries, split, headline) for split in judged}
    rows = []
    for place, entry in enumerate(entries):
        run, seconds, images = entry.run, training_seconds(entry.run), speed(entry.run)
        rows.append(
            [
                key(entry),
                *(_cell(entry, split, headline, place in best[split]) for split in judged),
                _steps(run),
                duration(seconds) if seconds else "–",
                number(round(images)) if images else "–",
                number(run.num_parameters) if run.num_parameters else "–",
                str(run.starts[-1].get("device", "–")) if run.starts else "–",
            ]
        )
    return table(head, rows, numbers=range(1, 5 + len(judged)))


def _steps(run: Run) -> Html:
    """How many are done, and of how many where there are more to do."""
    if run.finished:
        return element("span", f"{run.step:,}")
    of = f" of {run.total_steps:,}" if run.total_steps else ", not finished"
    return element("span", f"{run.step:,}{of}", class_="badge open")


def _results(entries: Sequence[Entry]) -> list[Html | None]:
    """A table for each split: metrics by run."""
    parts: list[Html | None] = []
    for split in splits(entries):
        steps = [entry.result(split) for entry in entries]
        rows: list[list[str]] = [
            [
                element("small", "after step"),
                *(element("small", f"{result.step:,}" if result else "–") for result in steps),
            ]
        ]
        for name in metrics(entries, split):
            best = winners(entries, split, name)
            cells = [_cell(e, split, name, place in best) for place, e in enumerate(entries)]
            rows.append([_described(name), *cells])
        shown = table(["", *map(key, entries)], rows, numbers=range(1, 1 + len(entries)))
        about = element("p", element("small", _about(entries, split)))
        parts.append(element("div", *_part(f"On the {split} images", about, shown)))
    return [element("div", *parts, class_="columns")]


def _cell(entry: Entry, split: str, name: str, best: bool) -> Html:
    """A number, with a star if no run has a better one, and how sure an accuracy is."""
    result = entry.result(split)
    if result is None or name not in result.metrics:
        return element("span", "–")
    text = meaning(name).spelled(result.metrics[name])
    shown = element("strong", f"★ {text}") if best else element("span", text)
    bounds = interval(entry.run, result) if name == "accuracy" else None
    if not bounds:
        return shown
    low, high = (f"{100 * bound:.1f}" for bound in bounds)
    return together(shown, element("br"), element("small", f"{low}–{high}"))


def _described(name: str) -> Html:
    """A metric, an arrow to where it is better, and its unit."""
    known = meaning(name)
    arrow = {"lower": " ↓", "higher": " ↑", None: ""}[known.better]
    unit = element("small", f" {known.unit}") if known.unit not in ("", "%") else None
    return element("span", f"{known.title}{arrow}", unit, class_="name")


def _about(entries: Sequence[Entry], split: str) -> str:
    """Whether the numbers of a split compare, and how to read them."""
    if len(entries) == 1:
        return ""
    if not same_images(entries, split):
        return (
            "As far as can be told, these were not measured on the same images in the same form: "
            "do not take the numbers as a contest. None is called best."
        )
    text = "↑ higher is better, ↓ lower is better, ★ the best of these."
    if any(interval(e.run, r) for e in entries if (r := e.result(split))):
        text += " Below an accuracy: its 95 % interval over the choice of images."
    return text


def _differences(
    title: str, differences: Sequence[Difference], entries: Sequence[Entry]
) -> list[Html | None]:
    """A table of what is not the same for all runs."""
    if len(entries) == 1:
        return []
    if not differences:
        return _part(title, element("p", "None."))
    rows = [
        [
            element("span", name, class_="name"),
            *(element("small", "not there") if value is None else value for value in values),
        ]
        for name, values in differences
    ]
    return _part(title, table(["", *map(key, entries)], rows))


def _pictures(entries: Sequence[Entry], problems: list[str]) -> list[Html | None]:
    """The latest picture of each name, of all runs beside each other."""
    task = entries[0].run.task
    order = [*PICTURES.get(task, {}), *(name for e in entries for name in e.run.pictures)]
    parts: list[Html | None] = []
    for name in dict.fromkeys(order):
        known = picture(task, name)
        shown = [figure_beside_others(e.run, name, key(e), problems) for e in entries]
        figures = [figure for figure in shown if figure]
        if figures:
            caption = element("p", element("small", known.caption))
            parts += _part(known.title, caption, grid("beside", figures))
    return parts


def _part(title: str, *content: Html | None) -> list[Html | None]:
    """A part of a section; none if there is nothing in it."""
    return [element("h3", title), *content] if any(content) else []


def _count(number: int) -> Html:
    return element("small", f"{number} runs" if number != 1 else "1 run")
