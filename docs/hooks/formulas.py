"""Formulas as MathML, which browsers draw by themselves: no script, and nothing to fetch."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_NOT_KNOWN = {r"\tfrac": r"\frac", r"\Vert": r"\|", r"\big": "", r"\Big": ""}
"""What the converter has no notion of, or draws badly, and what stands for it."""
_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):(<code>)~?")


def to_mathml(formula: str, *, display: bool) -> str:
    """A formula in LaTeX as an element of MathML.

    Raises:
        PluginError: a command in it is not known.
    """
    for command, other in _NOT_KNOWN.items():
        formula = re.sub(re.escape(command) + r"(?![a-zA-Z])", lambda _, it=other: it, formula)
    mathml = convert(formula, display="block" if display else "inline")
    if left := re.search(r"\\[a-zA-Z]+", mathml):
        raise PluginError(f"{left[0]} in the formula {formula} would stay as it is.")
    return mathml


def on_page_content(content: str, **_: Any) -> str:
    """Formulas of a page, and the cross-references of docstrings, as they are to be read."""
    content = _FORMULA.sub(
        lambda found: to_mathml(html.unescape(found[2]).strip(), display=found[1] == "div"), content
    )
    return _ROLE.sub(r"\1", content)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Hold the built page to needing no network.

    Raises:
        PluginError: it would fetch something.
    """
    if fetched := re.search(
        r'<(?:script|img|link)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', output
    ):
        raise PluginError(f"{page.file.src_path} would fetch something: {fetched[0]}")
    return output
