"""Someone who talks to the page of `visarch web` as a browser does, or as no browser would."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 120
"""Seconds until a page that says nothing is called dead."""

LIKELIEST = "the likeliest class"
RANGES = ("bytes=0-1,2-3", "bytes=5-1", "bytes=-", "bytes=0-" + "9" * 500, "bytes=" + "0-," * 2000)
"""Parts of a file that nobody should ask for."""
Answer = dict[str, Any]


class Declined(Exception):
    """The page said why it does not do what was asked."""


class Busy(Exception):
    """The page has too much to do, and says so."""


class Visitor:
    """One browser, or what passes for one.

    Every answer of the page is kept in `heard`, for whoever looks for what should not be there.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.host = urlsplit(address).netloc
        self.session = uuid.uuid4().hex
        self.heard: list[bytes] = []
        self.requests = 0
        self.longest_queue = 0
        self.functions: dict[str, int] = {}

    def look(self) -> None:
        """Open the page, and see what can be asked."""
        status, text = self.request("GET", "/config")
        assert status == 200, (status, text[:200])
        for dependency in json.loads(text)["dependencies"]:
            self.functions[dependency["api_name"]] = dependency["id"]

    def request(
        self, method: str, path: str, body: bytes | Iterator[bytes] = b"", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body, whatever the path looks like: nothing is tidied up on the way."""
        self.requests += 1
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            if isinstance(body, bytes):
                headers.setdefault("Content-Length", str(len(body)))
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            try:
                for piece in [body] if isinstance(body, bytes) else body:
                    connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered already
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.heard.append(content[:100_000])
        return answer.status, content

    def upload(self, name: str, content: bytes) -> str:
        """The path of an uploaded file."""
        edge = uuid.uuid4().hex
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        )
        body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
        kind = f"multipart/form-data; boundary={edge}"
        status, text = self.request("POST", "/gradio_api/upload", body, Content_Type=kind)
        if status != 200:
            raise Declined(f"{status} {text[:200]!r}")
        return json.loads(text)[0]

    def join(self, function: str | int, data: Any, **more: Any) -> tuple[int, bytes]:
        """Put a question; its answer is not waited for."""
        number = self.functions[function] if isinstance(function, str) else function
        question = {"data": data, "fn_index": number, "session_hash": self.session, **more}
        return self.put(json.dumps(question).encode())

    def put(self, question: bytes) -> tuple[int, bytes]:
        kind = "application/json"
        return self.request("POST", "/gradio_api/queue/join", question, Content_Type=kind)

    def ask(self, function: str, *data: Any, **more: Any) -> list[Any]:
        """What a function of the page answers.

        Raises:
            Declined: it does not, and says why.
            Busy: too many are waiting.
        """
        status, text = self.join(function, data, **more)
        if status == 503:
            raise Busy(text.decode())
        if status != 200:
            raise Declined(f"{status} {text[:200]!r}")
        last: Answer = {}
        for message in self.listen():
            if message["msg"] == "process_completed":
                last = message
        if not last.get("success"):
            raise Declined(json.dumps(last.get("output")))
        return last["output"]["data"]

    def listen(self) -> Iterator[Answer]:
        """The messages of this session, to the last one."""
        self.requests += 1
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        try:
            connection.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
            answer = connection.getresponse()
            for line in answer:
                self.heard.append(line[:10_000])
                if line.startswith(b"data: "):
                    message = json.loads(line[6:])
                    self.longest_queue = max(self.longest_queue, message.get("queue_size") or 0)
                    if message["msg"] == "close_stream":
                        return
                    yield message
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A bare connection."""
        self.requests += 1
        host, port = self.host.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=PATIENCE)

    def refusal(self, function: str, *data: Any, **more: Any) -> str | None:
        """Why the page does not answer; nothing where it does."""
        try:
            self.ask(function, *data, **more)
        except Declined as why:
            return str(why)
        return None


def image_at(path: str) -> Answer:
    """What names an uploaded file in a question."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


Deed = Callable[[Visitor, Random], str]
"""What someone does to a page; returns what came of it."""
