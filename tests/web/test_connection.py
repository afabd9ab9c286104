"""Who comes when it is full, or says nothing, is shown out; the others are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs visarch[web]")
import uvicorn
from uvicorn.server import ServerState

from visarch.web import connection

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def served(try_it: Callable[[Callable[[], Awaitable[Streams]]], Awaitable[None]]) -> None:
    """Try something with a server that answers everything, and what connects to it."""

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        config = uvicorn.Config(page, lifespan="off", log_level="error")
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: connection.Connection(config, state, {}), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        opened: list[Streams] = []

        async def connect() -> Streams:
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            return opened[-1]

        await try_it(connect)
        for _, writer in opened:
            writer.close()
        await asyncio.sleep(0.05)
        server.close()

    asyncio.run(run())


async def answer(streams: Streams, request: bytes = REQUEST) -> bytes:
    """The first line that comes back; nothing where the connection is closed."""
    reader, writer = streams
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.readline(), 30)
    except ConnectionError:
        return b""


def test_one_too_many_is_shown_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "MOST", 3)

    async def try_it(connect: Callable[[], Awaitable[Streams]]) -> None:
        those = [await connect() for _ in range(3)]
        assert await answer(await connect()) == b""
        assert [await answer(one) for one in those] == [b"HTTP/1.1 204 No Content\r\n"] * 3
        those[0][1].close()
        await asyncio.sleep(0.1)
        assert b"204" in await answer(await connect())

    served(try_it)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_who_asks_for_nothing_is_shown_out(monkeypatch: pytest.MonkeyPatch, said: bytes):
    monkeypatch.setattr(connection, "PATIENCE", 0.3)

    async def try_it(connect: Callable[[], Awaitable[Streams]]) -> None:
        silent, other = await connect(), await connect()
        assert b"204" in await answer(other)
        assert await answer(silent, said) == b""

    served(try_it)


def test_who_has_asked_may_take_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.1)

    async def try_it(connect: Callable[[], Awaitable[Streams]]) -> None:
        streams = await connect()
        for _ in range(2):
            assert b"204" in await answer(streams)
            while await streams[0].readline() != b"\r\n":
                pass
            await asyncio.sleep(0.3)

    served(try_it)
