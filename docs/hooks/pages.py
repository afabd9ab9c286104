"""Pages that are not written by hand: the code that others link to. And the navigation."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)")
_LANGUAGES = {".py": "python", ".json": "json", ".md": "markdown", ".ipynb": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A page for each file outside of docs/ that a page links to."""
    linked = {
        path
        for file in files.documentation_pages()
        for match in _LINK.finditer(file.content_string)
        if (path := _outside(match[2], file.src_uri)) is not None
    }
    for path in sorted(linked):
        for place in [path, *(sorted(path.glob("*.py")) if path.is_dir() else [])]:
            uri = _page_of(place)
            if uri not in files.src_uris:
                files.append(File.generated(config, uri, content=_listing(place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files outside of docs/ as links to their pages."""
    here = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        path = _outside(match[2], here)
        if path is None:
            return match[0]
        return match[1] + posixpath.relpath(_page_of(path), posixpath.dirname(here) or ".")

    return _LINK.sub(moved, markdown)


def _outside(target: str, page: str) -> Path | None:
    """What a link leads to, if it lies outside of docs/ and is there."""
    path = (ROOT / "docs" / page).parent.joinpath(target).resolve()
    inside = path.is_relative_to(ROOT / "docs")
    return path if path.exists() and path.is_relative_to(ROOT) and not inside else None


def _page_of(path: Path) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return f"code/{relative}/index.md" if path.is_dir() else f"code/{relative}.md"


def _listing(path: Path) -> str:
    """A file as it is, or the files of a folder; not found by the search, which has the rest."""
    head = f"---\nsearch: {{exclude: true}}\n---\n# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.is_dir():
        names = [file.name for file in sorted(path.glob("*.py"))]
        return head + "".join(f"- [{name}]({name}.md)\n" for name in names)
    language = _LANGUAGES.get(path.suffix, "text")
    return f"{head}`````{language}\n{path.read_text('utf-8')}\n`````\n"
