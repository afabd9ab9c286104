"""Where a page must not reach, and how it is seen that it did."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Traps:
    """Where the page must not reach: a file with a secret, and a server that counts its visits."""

    def __init__(self, canary: str, secret: bytes, port: int) -> None:
        self.canary, self.secret, self.port = canary, secret, port

    def laid(self, value: Any) -> Any:
        """A value of a question that names them."""
        text = json.dumps(value).replace("{canary}", self.canary)
        return json.loads(text.replace("{port}", str(self.port)))


@contextlib.contextmanager
def traps(folder: Path) -> Iterator[tuple[Traps, list[str]]]:
    """A file with a secret, and a server that the page must not ask; and what it was asked."""
    secret = hashlib.sha256(os.urandom(16)).hexdigest().encode()
    canary = folder / "canary.txt"
    canary.write_bytes(secret)
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(secret)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Traps(str(canary), secret, server.server_port), asked
    finally:
        server.shutdown()
        server.server_close()
