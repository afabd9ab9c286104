"""What stands before the page's server: it lets through what the page needs, and nothing else.

The server below can do much more (fetch addresses, serve folders, tell of its visitors, run other
apps). None of it is reachable: unknown paths are not there, bodies are limited, and a file is named
only by where the server itself put it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_API = "/gradio_api"
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"
    r"|/(assets|static|svelte)/.+"
    rf"|{_API}/(theme\.css|info|startup-events|queue/data|upload_progress|heartbeat/\w+)"
)
_FILE = re.compile(rf"{_API}/file=(?P<path>.+)", re.DOTALL)
_WRITTEN = re.compile(rf"{_API}/(queue/join|upload|cancel|reset/?)")
_LARGEST_QUESTION = 2**20
"""Bytes of a question to the page; images come as uploads."""
_MARGIN = 2**16
"""Bytes of an upload around its file."""


class Guard:
    """An ASGI app before another one.

    Args:
        app: the page.
        folder: where the page keeps its files.
        hosts: names that the page may be asked for by; none for any. Where it listens on this
            machine alone, another site must not reach it by a name of its own.
        most_bytes: of an upload.
    """

    def __init__(
        self, app: App, folder: Path, hosts: frozenset[str] | None, most_bytes: int
    ) -> None:
        self.app, self.folder, self.hosts = app, folder.resolve(), hosts
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http" or not self._is_known_as(scope):
            await _refuse(send, 403, "This page is not to be had under this name.")
        elif scope["method"] in ("GET", "HEAD"):
            if self._may_read(scope["path"]):
                await self.app(scope, receive, send)
            else:
                await _refuse(send, 404, "There is nothing here.")
        elif scope["method"] == "POST" and _WRITTEN.fullmatch(scope["path"]):
            await self._question(scope, receive, send)
        else:
            await _refuse(send, 404, "There is nothing here.")

    def _is_known_as(self, scope: Scope) -> bool:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        return self.hosts is None or _name(host) in self.hosts

    def _may_read(self, path: str) -> bool:
        file = _FILE.fullmatch(path)
        return self._is_own(file["path"]) if file else bool(_READ.fullmatch(path))

    def _is_own(self, path: Any) -> bool:
        """Whether it is the path of a file that the page has put there."""
        if not isinstance(path, str) or "\0" in path or ".." in Path(path).parts:
            return False
        if unquote(path) != path and ".." in Path(unquote(path)).parts:
            return False
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(self.folder)

    async def _question(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a body on that is not too large, and names no file but the page's own."""
        is_upload = scope["path"].endswith("/upload")
        most = self.most_bytes + _MARGIN if is_upload else _LARGEST_QUESTION
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > most:
                await _refuse(send, 413, f"At most {most // 2**20} MiB are taken here.")
                return
            if not message.get("more_body"):
                break
        if not is_upload and not all(map(self._is_own, _paths(bytes(body)))):
            await _refuse(send, 403, "This names a file that is not the page's own.")
            return
        told = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Message:
            message = next(told, None)
            return await receive() if message is None else message

        await self.app(scope, replay, send)


def loopback_names(host: str) -> frozenset[str] | None:
    """Names of this machine for itself, if that is all that an address listens to; else none."""
    if not is_loopback(host):
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", host})


def is_loopback(host: str) -> bool:
    """Whether only this machine itself reaches this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """A Host header without its port."""
    return re.sub(r":\d+$", "", host).strip("[]").lower()


def _paths(body: bytes) -> Iterator[Any]:
    """Every path that a question names a file by."""
    try:
        waiting = [json.loads(body or b"null")]
    except (ValueError, RecursionError):
        yield None
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "path" in value and value["path"] is not None:
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


async def _refuse(send: Send, status: int, reason: str) -> None:
    text = reason.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
