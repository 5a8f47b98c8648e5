"""A connection of a client who takes too long to say what it wants is closed."""

from __future__ import annotations

import asyncio

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_LONGEST_HEAD = 64 << 10


class PatientConfig(Config):
    """uvicorn's configuration, with how long a client may take to say what it wants."""

    slow_s = 10.0


class PatientProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with an end to patience: a head must come in time, and be short.

    Without, a client that sends a letter a minute holds a connection for ever.
    """

    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; while it is a head, count it."""
        super().data_received(data)
        if self._is_busy():
            self._end_wait()
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > _LONGEST_HEAD:
            self.transport.close()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._end_wait()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        """Tell whether a request is being answered, or its body read."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(
            getattr(self.config, "slow_s", PatientConfig.slow_s), self._give_up
        )

    def _end_wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._is_busy() and not self.transport.is_closing():
            self.transport.close()
