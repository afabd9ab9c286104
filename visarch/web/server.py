"""The server of the page: on this machine, with a folder of its own that goes when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from visarch.errors import UserError

_GRACE = 2
"""Seconds that those who are looking get when the server ends."""
_CLEARED_EVERY = 1
"""Seconds, at least, between two looks at the temporary files."""


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for all temporary files of this process, removed in the end."""
    with tempfile.TemporaryDirectory(prefix="visarch-web-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        environment = {
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_ANALYTICS_MAX_EVENTS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "MPLCONFIGDIR": str(folder),
        }
        old = {key: os.environ.get(key) for key in environment}
        os.environ.update(environment)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            for key, value in old.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Raises:
        UserError: the port is taken, or the address is none of this machine's.
    """
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=kind)
    except (OSError, OverflowError, UnicodeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        why = os.strerror(code) if code is not None and code > 0 else str(error)
        raise UserError(
            f"--host {host} --port {port} cannot be listened on ({why.lower()}): another program "
            "may have the port, or the address is not this machine's. Give another --port, or 0 "
            "for any that is free."
        ) from error


def serve(
    sources: tuple[str, ...],
    device: str,
    bound: socket.socket,
    host: str,
    ready: Callable[[str], None],
) -> None:
    """Show runs until someone ends it with Ctrl-C or SIGTERM; `ready` is told the address.

    Raises:
        UserError: a run cannot be shown.
        KeyboardInterrupt: it was to end before the page was there.
    """
    with _ended_by_signals(), own_folder() as folder:
        import gradio as gr
        import uvicorn
        from fastapi import FastAPI

        from visarch.web.connection import BACKLOG, Connection
        from visarch.web.folder import clear
        from visarch.web.guard import Guard, loopback_names
        from visarch.web.machine import close
        from visarch.web.page import CSS, PASTE, build, theme
        from visarch.web.shelf import Shelf
        from visarch.web.uploads import MOST_BYTES

        page = build(Shelf(sources, device))
        app = gr.mount_gradio_app(
            FastAPI(openapi_url=None, docs_url=None, redoc_url=None),
            page,
            path="/",
            allowed_paths=[],
            show_error=False,
            max_file_size=MOST_BYTES,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=theme(),
            css=CSS,
            js=PASTE,
        )

        cleared = 0.0

        async def make_room() -> None:
            nonlocal cleared
            page.forget()
            if time.monotonic() > cleared + _CLEARED_EVERY:
                cleared = time.monotonic()
                await asyncio.to_thread(clear, folder)

        guarded = Guard(
            app,
            folder,
            loopback_names(host),
            MOST_BYTES,
            [number for number, function in page.fns.items() if function.fn],
            make_room,
        )
        config = uvicorn.Config(
            guarded,
            http=Connection,
            backlog=BACKLOG,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
            ws="none",
        )
        ready(_address(host, bound.getsockname()[1]))
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[bound])
        close()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """While this lasts, SIGTERM ends the process as Ctrl-C does, so that it cleans up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
