"""Connections to the page: as many as a machine has room for, and none that asks for nothing."""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 200
"""At once; a visitor has one to six."""
BACKLOG = 100
"""That wait to be let in: so many are, before the first of them can be shown out."""
PATIENCE = 10.0
"""Seconds until a connection must have asked for something."""


class Connection(H11Protocol):
    """One of them, which is closed where it is too many, or its first request does not come."""

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.close()
        else:
            self.loop.call_later(PATIENCE, self._end_if_silent)

    def _end_if_silent(self) -> None:
        request: Any = self.cycle
        if request is None:
            self.transport.close()
