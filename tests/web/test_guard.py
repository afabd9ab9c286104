"""The guard lets the page's own questions through, and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from visarch.web.guard import Guard, is_loopback, loopback_names

MOST = 1000


def ask(
    folder: Path, method: str, path: str, body: bytes = b"", host: str = "localhost:7860"
) -> tuple[int, bytes | None]:
    """The status, and the body that reached the page; none where nothing did."""
    reached: list[bytes] = []
    sent: list[Any] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        reached.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    pieces = [body[:10], body[10:]]

    async def receive() -> Any:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", host.encode())]}
    guard = Guard(page, folder, loopback_names("127.0.0.1"), MOST)
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], reached[0] if reached else None


@pytest.mark.parametrize("path", ["/", "/config", "/assets/index.js", "/theme.css", "/svelte/x.js"])
def test_what_a_page_is_made_of_is_there(path: str, tmp_path: Path):
    assert ask(tmp_path, "GET", path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/openapi.json", "/monitoring", "/gradio_api/openapi.json", "/gradio_api/runs"),
        *("/gradio_api/proxy=https://example.org/", "/gradio_api/file=https://example.org/x.png"),
        *("/gradio_api/file=/etc/passwd", "/gradio_api/file=etc/passwd", "/gradio_api/vibe-code"),
        *("/gradio_api/stream/a/b/c/playlist.m3u8", "/gradio_api/custom_component/a/b/c/d"),
    ],
)
def test_nothing_else_is(path: str, tmp_path: Path):
    assert ask(tmp_path, "GET", path) == (404, None)


def test_files_of_the_page_alone_are_served(tmp_path: Path):
    folder, outside = tmp_path / "own", tmp_path / "secret"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "a.png").write_text("image")
    (folder / "link.png").symlink_to(outside)
    served = f"/gradio_api/file={folder}"
    assert ask(folder, "GET", f"{served}/a.png")[0] == 200
    for trick in ("/../secret", "/%2e%2e/secret", "/link.png", "/./../secret", "/a.png\0", "2"):
        assert ask(folder, "GET", served + trick) == (404, None)


@pytest.mark.parametrize(
    "path", ["/gradio_api/run/predict", "/gradio_api/call/predict", "/login", "/gradio_api/file=/x"]
)
def test_only_the_queue_is_asked(path: str, tmp_path: Path):
    assert ask(tmp_path, "POST", path, b"{}") == (404, None)
    assert ask(tmp_path, "PUT", "/gradio_api/queue/join", b"{}") == (404, None)


def test_a_question_arrives_as_it_was_asked(tmp_path: Path):
    own = {"path": str(tmp_path / "x" / "a.png"), "url": "http://localhost/a.png"}
    body = json.dumps({"data": [own, {"path": None}, 3]}).encode()
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", body) == (200, body)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "https://example.org/a.png", "a.png", "../a.png", 7, ["/etc/passwd"]]
)
def test_a_question_names_no_other_file(path: Any, tmp_path: Path):
    for data in ([{"path": path}], {"deep": [[{"x": {"path": path}}]]}):
        body = json.dumps({"data": data}).encode()
        assert ask(tmp_path, "POST", "/gradio_api/queue/join", body) == (403, None)


def test_a_question_that_is_no_json_is_refused(tmp_path: Path):
    for body in (b"{", b"\xff\xff", b"[" * 100_000):
        assert ask(tmp_path, "POST", "/gradio_api/queue/join", body) == (403, None)


def test_bodies_are_limited(tmp_path: Path):
    upload = "/gradio_api/upload"
    assert ask(tmp_path, "POST", upload, b"x" * MOST)[0] == 200
    assert ask(tmp_path, "POST", upload, b"x" * (MOST + 2**17)) == (413, None)
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", b'"' + b"x" * 2**20) == (413, None)


def test_another_site_cannot_pose_as_this_machine(tmp_path: Path):
    for host in ("localhost", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1"):
        assert ask(tmp_path, "GET", "/", host=host)[0] == 200
    for host in ("example.org", "localhost.example.org", "", "10.0.0.1:7860"):
        assert ask(tmp_path, "GET", "/", host=host) == (403, None)


def test_where_others_may_come_any_name_will_do():
    assert loopback_names("0.0.0.0") is None
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
