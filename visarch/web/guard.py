"""What stands before the page's server: it lets through what the page needs, and nothing else.

The server below can do much more (fetch addresses, serve folders, tell of its visitors, run other
apps). None of it is reachable: unknown paths and questions are not there, bodies are limited, other
sites do not ask through a visitor's browser, and a file is named only by where the server itself
put it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.exceptions import HTTPException

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_API = "/gradio_api"
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"
    r"|/(assets|static|svelte)/[\w.@/-]{1,200}"
    rf"|{_API}/(theme\.css|info|startup-events|queue/data|upload_progress|heartbeat/\w{{1,64}})",
    re.ASCII,
)
_FILE = re.compile(rf"{_API}/file=(?P<path>.+)", re.DOTALL)
_JOIN, _UPLOAD = f"{_API}/queue/join", f"{_API}/upload"
_TOLD = re.compile(rf"{_API}/(queue/join|cancel|reset/?)")
_SESSION = re.compile(r"\w{1,64}", re.ASCII)
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
        functions: numbers of the questions that the page answers.
        make_room: is called before a file or a question is taken.
    """

    def __init__(
        self,
        app: App,
        folder: Path,
        hosts: frozenset[str] | None,
        most_bytes: int,
        functions: Collection[int],
        make_room: Callable[[], Awaitable[None]],
    ) -> None:
        self.app, self.folder, self.hosts = app, folder.resolve(), hosts
        self.most_bytes, self.functions, self.make_room = most_bytes, tuple(functions), make_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        path = scope.get("path", "")
        if scope["type"] != "http" or not self._is_known_as(scope):
            await _refuse(send, 403, "This page is not to be had under this name.")
        elif not self._is_asked_by_itself(scope):
            await _refuse(send, 403, "Another site has asked for this.")
        elif scope["method"] in ("GET", "HEAD") and self._may_read(path):
            await self._show(scope, receive, send)
        elif scope["method"] == "POST" and path == _UPLOAD:
            await self._upload(scope, receive, send)
        elif scope["method"] == "POST" and _TOLD.fullmatch(path):
            await self._question(scope, receive, send)
        else:
            await _refuse(send, 404, "There is nothing here.")

    def _is_known_as(self, scope: Scope) -> bool:
        return self.hosts is None or _name(_header(scope, b"host")) in self.hosts

    def _is_asked_by_itself(self, scope: Scope) -> bool:
        """Whether no other site's script asks; browsers say so, and leave it out at most for
        what the page asks itself."""
        origin = _header(scope, b"origin")
        return not origin or _name(urlsplit(origin).netloc) in (
            self.hosts or {_name(_header(scope, b"host"))}
        )

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

    async def _show(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Something to be read, always the whole of it."""
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        try:
            await self.app({**scope, "headers": headers}, receive, send)
        except RuntimeError as error:
            if not isinstance(error.__cause__, HTTPException):
                raise
            await send({"type": "http.response.body", "body": b""})  # a stream that has said why

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a file on piece by piece, which says beforehand that it is not too large."""
        length = _header(scope, b"content-length")
        if not length.isdecimal():
            await _refuse(send, 411, "An upload must say how long it is.")
            return
        if int(length) > self.most_bytes + _MARGIN:
            await _refuse(send, 413, f"At most {self.most_bytes // 2**20} MiB are taken here.")
            return
        await self.make_room()
        failed = False

        async def answer(message: Message) -> None:
            nonlocal failed
            failed = failed or message.get("status", 0) >= 500
            if not failed:
                await send(message)

        try:
            await self.app(scope, receive, answer)
        except OSError as error:
            await _refuse(send, 507, f"The file cannot be kept: {error.strerror}.")
        except Exception:  # whatever a form that no browser made leads to, or who left meanwhile
            await _refuse(send, 400, "This is no upload of a file.")

    async def _question(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has been looked at: no other than the page's own questions and files."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > _LARGEST_QUESTION:
                await _refuse(send, 413, f"At most {_LARGEST_QUESTION // 2**20} MiB are read here.")
                return
            if not message.get("more_body"):
                break
        try:
            question = json.loads(body)
            read = json.dumps(question, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):  # no JSON, numbers that are none, half characters
            await _refuse(send, 400, "This is no question in JSON.")
            return
        if not all(map(self._is_own, _paths(question))):
            await _refuse(send, 403, "This names a file that is not the page's own.")
            return
        if scope["path"] == _JOIN and not self._is_answered(question):
            await _refuse(send, 400, "This is not among the questions of the page.")
            return
        await self.make_room()
        told = iter([{"type": "http.request", "body": read, "more_body": False}])

        async def replay() -> Message:
            message = next(told, None)
            return await receive() if message is None else message

        await self.app(scope, replay, send)

    def _is_answered(self, question: Any) -> bool:
        """Whether it is to one of the page's functions, by someone who can be answered."""
        return (
            isinstance(question, dict)
            and question.get("fn_index") in self.functions
            and isinstance(question.get("session_hash"), str)
            and bool(_SESSION.fullmatch(question["session_hash"]))
        )


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


def _header(scope: Scope, name: bytes) -> str:
    return dict(scope["headers"]).get(name, b"").decode("latin-1")


def _paths(question: Any) -> Iterator[Any]:
    """Every path that a question names a file by."""
    waiting = [question]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
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
