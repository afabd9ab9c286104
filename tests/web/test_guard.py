"""The guard lets the page's own questions through, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from typing import Any

import pytest

from visarch.web.guard import Guard, is_loopback, loopback_names

MOST = 1000
JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"


def ask(
    folder: Path,
    method: str,
    path: str,
    body: bytes = b"",
    failing: Exception | None = None,
    **headers: str,
) -> tuple[int, bytes | None]:
    """The status, and the body that reached the page; none where nothing did."""
    reached: list[bytes] = []
    sent: list[Any] = []
    room: list[None] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        assert not scope["path"].endswith(("join", "upload")) or room
        assert b"range" not in dict(scope["headers"])
        whole, more = b"", True
        while more:
            message = await receive()
            whole, more = whole + message["body"], message["more_body"]
        reached.append(whole)
        await send({"type": "http.response.start", "status": 500 if failing else 200})
        if failing:
            raise failing
        await send({"type": "http.response.body", "body": b""})

    async def make_room() -> None:
        room.append(None)

    pieces = [body[:10], body[10:]]
    headers = {"host": "localhost:7860", "content-length": str(len(body)), **headers}

    async def receive() -> Any:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    hosts = loopback_names("127.0.0.1")
    asyncio.run(Guard(page, folder, hosts, MOST, [0, 3], make_room)(scope, receive, send))
    return sent[0]["status"], reached[0] if reached else None


def question(data: Any, **more: Any) -> bytes:
    return json.dumps({"data": data, "fn_index": 3, "session_hash": "someone", **more}).encode()


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
        *("/assets/" + "a" * 300, "/static/a\0b", "/gradio_api/heartbeat/" + "a" * 100),
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
    assert ask(tmp_path, "PUT", JOIN, b"{}") == (404, None)


def test_a_question_arrives_as_it_was_asked(tmp_path: Path):
    own = {"path": str(tmp_path / "x" / "a.png"), "url": "http://localhost/a.png"}
    body = question([own, {"path": None}, 3])
    assert ask(tmp_path, "POST", JOIN, body) == (200, body)


def test_what_is_looked_at_is_what_arrives(tmp_path: Path):
    body = question([0]).replace(b"[0]", b'[{"path": "/etc/passwd", "path": null}]')
    assert ask(tmp_path, "POST", JOIN, body) == (200, question([{"path": None}]))
    assert ask(tmp_path, "POST", JOIN, question([0]).decode().encode("utf-16"))[1] == question([0])


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "https://example.org/a.png", "a.png", "../a.png", 7, ["/etc/passwd"]]
)
def test_a_question_names_no_other_file(path: Any, tmp_path: Path):
    for data in ([{"path": path}], {"deep": [[{"x": {"path": path}}]]}):
        assert ask(tmp_path, "POST", JOIN, question(data)) == (403, None)


def test_a_question_that_is_no_json_is_refused(tmp_path: Path):
    for body in (b"", b"{", b"\xff\xff", b"[" * 100_000, b"NaN", b"[1e999]", b'"\\ud800"'):
        assert ask(tmp_path, "POST", JOIN, body) == (400, None)


@pytest.mark.parametrize(
    "more",
    [
        *({"fn_index": number} for number in (1, -1, 10**400, 0.5, "3", None, [3], {})),
        *({"session_hash": name} for name in (None, 7, "", "a/b", "ä", "x" * 100)),
    ],
)
def test_only_the_pages_own_questions_are_put(more: dict[str, Any], tmp_path: Path):
    assert ask(tmp_path, "POST", JOIN, question([], **more)) == (400, None)
    assert ask(tmp_path, "POST", JOIN, question([], fn_index=0))[0] == 200


def test_another_sites_script_does_not_ask(tmp_path: Path):
    for origin in ("http://localhost:7860", "http://127.0.0.1:1", "http://[::1]:7860"):
        assert ask(tmp_path, "POST", JOIN, question([]), origin=origin)[0] == 200
    for origin in ("https://example.org", "null", "http://localhost.example.org"):
        assert ask(tmp_path, "POST", JOIN, question([]), origin=origin) == (403, None)
        assert ask(tmp_path, "POST", UPLOAD, b"x", origin=origin) == (403, None)


def test_bodies_are_limited(tmp_path: Path):
    assert ask(tmp_path, "POST", UPLOAD, b"x" * MOST) == (200, b"x" * MOST)
    assert ask(tmp_path, "POST", UPLOAD, b"x" * (MOST + 2**17)) == (413, None)
    assert ask(tmp_path, "POST", UPLOAD, b"x", content_length=str(10**400)) == (413, None)
    assert ask(tmp_path, "POST", UPLOAD, b"x", content_length="") == (411, None)
    assert ask(tmp_path, "POST", JOIN, b'"' + b"x" * 2**20) == (413, None)


def test_an_upload_that_fails_is_told_of(tmp_path: Path):
    full = OSError(errno.ENOSPC, "No space left on device")
    assert ask(tmp_path, "POST", UPLOAD, b"x", full)[0] == 507
    assert ask(tmp_path, "POST", UPLOAD, b"x", AttributeError("filename"))[0] == 400


def test_files_are_shown_whole(tmp_path: Path):
    (tmp_path / "a.png").write_text("image")
    path = f"/gradio_api/file={tmp_path}/a.png"
    assert ask(tmp_path, "GET", path, range="bytes=0-1,2-3")[0] == 200


def test_another_site_cannot_pose_as_this_machine(tmp_path: Path):
    for host in ("localhost", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1"):
        assert ask(tmp_path, "GET", "/", host=host)[0] == 200
    for host in ("example.org", "localhost.example.org", "", "10.0.0.1:7860"):
        assert ask(tmp_path, "GET", "/", host=host) == (403, None)


def test_where_others_may_come_any_name_will_do():
    assert loopback_names("0.0.0.0") is None
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
