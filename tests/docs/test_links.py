"""Links lead somewhere, pictures exist, pages have their place, and the changelog its heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import visarch
from tests.docs.pages import PAGES, ROOT, anchors, links, name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures(page: Path):
    for line, target in links(page):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{name(page)}:{line}: {target}"
        assert path.is_relative_to(ROOT), f"{name(page)}:{line}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{name(page)}:{line}: {target}"


def test_anchors_are_made_as_github_makes_them(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# U-Net — note, 2.2\n\n## `visarch check`\n\n## Twice\n\n## Twice\n")
    assert anchors(page) == {"u-net--note-22", "visarch-check", "twice", "twice-1"}


def test_every_picture_is_shown_somewhere():
    shown = {(page.parent / target).resolve() for page in PAGES for _, target in links(page)}
    pictures = {path for path in (ROOT / "docs/pictures").iterdir() if path.suffix != ".py"}
    assert pictures <= shown


def test_every_page_has_its_place_in_the_navigation():
    settings = (ROOT / "mkdocs.yml").read_text()
    navigation = settings[settings.index("\nnav:") : settings.index("\nnot_in_nav:")]
    placed = re.findall(r"[\w/-]+\.md", navigation)
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(placed) == sorted(there)


def test_every_public_name_is_in_the_reference():
    pages = (ROOT / "docs/api").glob("*.md")
    told = {
        line[4:] for page in pages for line in page.read_text().splitlines() if line[:3] == ":::"
    }
    for public, module in visarch._MODULE_OF.items():
        assert {module, f"{module}.{public}"} & told, public


def test_the_changelog_begins_with_what_is_not_released():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == f"[Unreleased]: {visarch.__version__}"
