"""What stands on the pages of the documentation: blocks of code, commands, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^ *```(\S*)")
_FRAGMENT = "<!-- fragment -->"
"""Stands above a block of Python that shows how code looks and cannot run on its own."""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    """Of its first line within the page, from 1."""
    language: str
    """What stands behind the fence; nothing for most commands."""
    text: str
    is_fragment: bool

    @property
    def place(self) -> str:
        return f"{name(self.page)}:{self.line}"


def name(page: Path) -> str:
    """How a page is called from the root of the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text("utf-8").splitlines()
    start, language = None, ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start is None:
            start, language = number, fence[1]
            continue
        before = lines[start - 1].strip() if start else ""
        text = "\n".join(lines[start + 1 : number])
        yield Block(page, start + 2, language, text, before == _FRAGMENT)
        start = None
    assert start is None, f"{name(page)}:{start}: this block has no end"


def prose(page: Path) -> str:
    """A page without its blocks: as many lines, those of blocks empty."""
    inside, kept = False, []
    for line in page.read_text("utf-8").splitlines():
        fence = bool(_FENCE.match(line))
        kept.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(kept)


def spans(page: Path) -> Iterator[tuple[int, str]]:
    """Each `piece of code` within the text, with its line; one may go over the end of a line."""
    text = prose(page)
    for match in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text):
        line = text.count("\n", 0, match.start()) + 1
        yield line, re.sub(r"\s+", " ", match[1]).replace(r"\|", "|")


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block of shell, without what goes on with its output.

    A block that holds output, a tree of folders or a file has none.
    """
    found = []
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        words: list[str] = []
        for word in [*_split(re.sub(r"\w+=\$\((.*)\)", r"\1", line)), "&&"]:
            if word not in ("&&", "||", "|"):
                words.append(word)
            elif words:
                found.append([*takewhile(lambda word: word not in (">", "2>"), words)])
                words = []
    return found


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is an apostrophe: no command
        return line.split()


def anchors(page: Path) -> set[str]:
    """Of every heading, as GitHub and the built site make them."""
    found: dict[str, int] = {}
    for line in prose(page).splitlines():
        heading = re.match(r"#+ (.*)", line)
        if heading is None:
            continue
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        if count:
            found[f"{slug}-{count}"] = 0
    return set(found)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Each target of a link or picture in the text, with its line."""
    text = re.sub(r"`[^`]*`", lambda span: "`" * len(span[0]), prose(page))
    for match in re.finditer(r"\]\(([^)\s]+)\)", text):
        yield text.count("\n", 0, match.start()) + 1, match[1]
