"""What the site adds to the pages; needs what `make docs` installs."""

from __future__ import annotations

import runpy
from types import SimpleNamespace
from typing import Any

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="`make docs` installs it")
pytest.importorskip("latex2mathml", reason="`make docs` installs it")


@pytest.fixture(scope="module")
def formulas() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/hooks/formulas.py"))


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/hooks/pages.py"))


def test_a_formula_becomes_mathml(formulas: dict[str, Any]):
    content = formulas["on_page_content"](r'<span class="arithmatex">\(a &lt; \tfrac12\)</span>')
    assert content.startswith("<math")
    assert "arithmatex" not in content
    assert "<mfrac>" in content


def test_a_formula_that_would_stay_as_it_is_is_refused(formulas: dict[str, Any]):
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match="nonsense"):
        formulas["to_mathml"](r"\nonsense{x}", display=False)


def test_roles_of_docstrings_are_left_out(formulas: dict[str, Any]):
    assert formulas["on_page_content"](":func:<code>ddpm</code>") == "<code>ddpm</code>"


@pytest.mark.parametrize(
    "fetched",
    [
        '<script src="https://somewhere/x.js"></script>',
        '<link rel="stylesheet" href="//fonts/x.css">',
        '<img alt="" src="http://somewhere/x.png">',
    ],
)
def test_a_page_that_would_fetch_something_is_refused(formulas: dict[str, Any], fetched: str):
    from mkdocs.exceptions import PluginError

    page = SimpleNamespace(file=SimpleNamespace(src_path="page.md"))
    links = '<a href="https://somewhere">there</a><img src="here.png">'
    assert formulas["on_post_page"](links, page) == links
    with pytest.raises(PluginError, match=r"page\.md would fetch something"):
        formulas["on_post_page"](links + fetched, page)


def test_links_out_of_the_documentation_lead_to_listings(pages: dict[str, Any]):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="api/blocks.md"))
    text = (
        "[a](../../visarch/hub.py) [b](../../examples) [c](../maths.md#attention) [d](../../gone)"
    )
    assert pages["on_page_markdown"](text, page) == (
        "[a](../code/visarch/hub.py.md) [b](../code/examples/index.md) "
        "[c](../maths.md#attention) [d](../../gone)"
    )
