"""Connections that end too soon, take long, or carry something else."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from random import Random

from .use import wish
from .visitor import Busy, Visitor


def leave_halfway(visitor: Visitor, random: Random) -> str:
    """Close the connection in the middle of a request."""
    heads = [
        "POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 15000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n',
        "POST /gradio_api/queue/join HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{",
        "GET /config HTTP/1.1\r\nHost: {host}\r\nX: ",
        "GET / HT",
    ]
    with visitor.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(random.choice(heads).format(host=visitor.host).encode())
        connection.sendall(random.randbytes(random.choice([0, 100, 5_000_000])))
        if random.random() < 0.5:
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    return "left"


def leave_the_answer(visitor: Visitor, random: Random) -> str:
    """Ask, and go: at once, or while the answer comes."""
    status, _ = visitor.join("drawn_1", wish(random, 250))
    if status == 503:
        raise Busy
    assert status == 200, status
    for _, message in zip(range(random.randint(0, 12)), visitor.listen(), strict=False):
        if message["msg"] == "process_completed":
            break
    return "left"


def stop(visitor: Visitor, random: Random) -> str:
    """The Stop button of a long generation."""
    status, text = visitor.join("drawn_1", wish(random, 250))
    if status == 503:
        raise Busy
    event = json.loads(text)["event_id"]
    number = visitor.functions["drawn_1"]
    body = {"session_hash": visitor.session, "fn_index": number, "event_id": event}
    stopped = False
    for message in visitor.listen():
        if message["msg"] in ("process_generating", "estimation") and not stopped:
            status, text = visitor.request(
                "POST",
                "/gradio_api/cancel",
                json.dumps(body).encode(),
                Content_Type="application/json",
            )
            assert status == 200, (status, text)
            stopped = True
    return "stopped" if stopped else "was done before"


def dawdle(visitor: Visitor, random: Random) -> str:
    """Send a byte now and then, or read none."""
    with visitor.connect() as connection:
        if random.random() < 0.5:
            for byte in b"POST /gradio_api/queue/join HTTP":
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        else:
            request = f"GET /config HTTP/1.1\r\nHost: {visitor.host}\r\n\r\n".encode()
            connection.sendall(request * 20)
            time.sleep(3)
    return "left"


def babble(visitor: Visitor, random: Random) -> str:
    """What is no HTTP."""
    with visitor.connect() as connection:
        connection.sendall(
            random.choice(
                [
                    random.randbytes(1000),
                    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + random.randbytes(300),
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000,
                    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: -1\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\n\r\n",
                ]
            )
        )
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        said = b""
        try:
            while piece := connection.recv(2**16):
                said += piece
        except (TimeoutError, ConnectionError):
            pass
    visitor.heard.append(said[:10_000])
    assert not said or said.startswith(b"HTTP/1.1 4") or said.startswith(b"HTTP/1.1 200"), said[:99]
    return said[9:12].decode() or "connection closed"


def crowd(visitor: Visitor, count: int) -> None:
    """Come in hundreds, and say nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OSError):  # it is full
                stack.enter_context(visitor.connect()).sendall(b"GET / HTTP/1.1\r\nHost: loc")
