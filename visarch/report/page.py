"""The page: what a run was, how it went, what it can do, and what to do next."""

from visarch.report.alarms import alarms
from visarch.report.curves import curve_figures
from visarch.report.details import commands, data, environment, setting_tables
from visarch.report.images import over_time, picture_figures
from visarch.report.markup import Html, element
from visarch.report.run import Run
from visarch.report.style import STYLE
from visarch.report.summary import heading, results

_NOTHING_FROM_OUTSIDE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(run: Run) -> str:
    """The whole page, with a section for everything that the run has."""
    problems = list(run.problems)
    sections = [
        ("Curves", grid("charts", curve_figures(run))),
        ("Pictures", grid("pictures", picture_figures(run, problems))),
        ("Samples over time", grid("strip", over_time(run, problems))),
        ("Data", data(run)),
        ("Settings", setting_tables(run)),
        ("Environment", environment(run)),
        ("Commands", commands(run)),
    ]
    sections = [(title, content) for title, content in sections if content]
    links = [element("a", title, href=f"#{_anchor(title)}") for title, _ in sections]
    return document(
        run.path.resolve().name,
        element("header", heading(run), element("nav", *links)),
        *(element("p", text, class_="alarm") for text in alarms(run)),
        *(element("p", text, class_="alarm mild") for text in problems),
        results(run),
        *(
            element("section", element("h2", title, id=_anchor(title)), content)
            for title, content in sections
        ),
    )


def document(title: str, *body: Html | None) -> str:
    """A page that loads nothing and runs nothing, with its style in it."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_NOTHING_FROM_OUTSIDE),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} · visarch"),
        element("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", *body), lang="en") + "\n"


def grid(class_: str, figures: list[Html]) -> Html | None:
    """Figures beside and below each other; none if there are none."""
    return element("div", *figures, class_=class_) if figures else None


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
