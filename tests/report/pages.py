"""A page as a browser reads it, and run folders to make pages of."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

VOID = {"br", "img", "link", "meta"}
HOSTILE = "<script>alert('x')</script> & \"><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, texts, and whether every tag is closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands there twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def headings(self) -> list[str | None]:
        return [attributes.get("id") for attributes in self.all("h2")]


def read(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


def assert_self_contained(page: Page) -> None:
    """Nothing on the page loads anything, runs anything, or means something twice."""
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                assert value is not None
                assert value.startswith(("data:image/", "data:,", "#")), (tag, name, value)
                if value.startswith("#"):
                    assert value[1:] in ids
            for address in re.findall(r"url\(([^)]*)\)", value or ""):
                assert address.removeprefix("#") in ids


def make_run(
    path: Path,
    *,
    task: str = "vae",
    config: dict[str, Any] | None = None,
    metrics: str | None = None,
    evaluation: Any = None,
    data: Any = None,
    starts: Any = None,
) -> Path:
    """A run folder with nothing in it but what is given."""
    path.mkdir(parents=True, exist_ok=True)
    settings = {"task": task, "data": "digits", **(config or {})}
    (path / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    if metrics is not None:
        (path / "metrics.csv").write_text(metrics, "utf-8")
    for name, content in (
        ("evaluation.json", evaluation),
        ("data.json", data),
        ("environment.json", starts),
    ):
        if content is not None:
            (path / name).write_text(json.dumps(content), "utf-8")
    return path
