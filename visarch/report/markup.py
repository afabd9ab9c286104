"""HTML that cannot be broken by what it shows: text is escaped unless it is markup already."""

from collections.abc import Container, Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup: `element` puts it in as it is."""


def element(tag: str, *children: str | None, **attributes: object) -> Html:
    """One element, its text escaped and its attributes quoted; what is None is left out.

    Attributes are written as Python can spell them: `class_`, `aria_label`.
    """
    quoted = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{quoted}>")
    return Html(f"<{tag}{quoted}>{together(*children)}</{tag}>")


def together(*children: str | None) -> Html:
    """Pieces of a page one after the other, text among them escaped."""
    return Html(
        "".join(
            child if isinstance(child, Html) else escape(child)
            for child in children
            if child is not None
        )
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Container[int] = ()
) -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        head: headings of the columns; none of them if all are empty.
        rows: text or markup of the cells.
        numbers: which columns hold numbers.
    """

    def row(tag: str, cells: Sequence[str]) -> Html:
        classes = ["number" if column in numbers else None for column in range(len(cells))]
        return element(
            "tr", *(element(tag, c, class_=k) for c, k in zip(cells, classes, strict=True))
        )

    headings = element("thead", row("th", head)) if any(head) else None
    body = element("tbody", *(row("td", cells) for cells in rows))
    return element("div", element("table", headings, body), class_="scroll")


_VOID = {"br", "img", "link", "meta"}
