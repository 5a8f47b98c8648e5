"""A proxy between a client and a server on this machine, which can do what networks do.

One thread hands the bytes of all links on. A fault is for the links that are there; those that
come after it are whole, as a client's next attempt would find a network that has come back.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_MOST_LINKS = 64
_BYTES = 1 << 16
_TICK_S = 0.01
# Closed with this a socket sends a reset, whatever is still to be sent.
_RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Link:
    """A connection of a client, and that to the server which belongs to it."""

    client: socket.socket | None
    server: socket.socket | None
    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    is_held: bool = False
    is_deaf: bool = False

    def close(self) -> None:
        for one in (self.client, self.server):
            if one is not None:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.close()
        self.client = self.server = None


class Proxy:
    """Hands bytes on between clients of its port and a server, until it is closed.

    Args:
        target: The port of the server.

    Attributes:
        port: Where clients connect.
        dropped: Bytes of replies that were dropped.
        answered: Bytes that the server answered to what was held back and let through.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.dropped = self.answered = 0
        self._links: list[_Link] = []
        self._is_stalled = False
        self._cut_after: int | None = None
        self._mutex = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(60)
        self._listening.close()
        for link in self._links:
            link.close()

    def stall(self) -> None:
        """Hand nothing on, in no direction, until told to go on; nothing is lost."""
        with self._mutex:
            self._is_stalled = True

    def go_on(self) -> None:
        """Hand on what waits."""
        with self._mutex:
            self._is_stalled = False

    def deafen(self) -> None:
        """Let requests through and drop every reply."""
        with self._mutex:
            for link in self._links:
                link.is_deaf = True

    def hold(self) -> None:
        """Keep what clients send."""
        with self._mutex:
            for link in self._links:
                link.is_held = True

    @property
    def held(self) -> int:
        """Bytes that are held back."""
        with self._mutex:
            return sum(len(link.to_server) for link in self._links if link.is_held)

    def release(self) -> None:
        """Let what was held through."""
        with self._mutex:
            for link in self._links:
                link.is_held = False

    def cut(self) -> None:
        """Reset every connection of a client; what is held back stays, with its server."""
        with self._mutex:
            self._cut()

    def cut_after(self, count: int) -> None:
        """Reset every connection once so many bytes more went to the server."""
        with self._mutex:
            self._cut_after = count

    @property
    def is_to_cut(self) -> bool:
        """Whether the cut that was asked for is still to come."""
        with self._mutex:
            return self._cut_after is not None

    def _cut(self) -> None:
        for link in self._links:
            if link.is_held and link.client is not None:
                link.client.close()
                link.client = None
            elif not link.is_held:
                link.close()
        self._links = [link for link in self._links if link.server is not None]

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._mutex:
                both = [s for link in self._links for s in (link.client, link.server) if s]
            ready, _, _ = select.select([self._listening, *both], [], [], _TICK_S)
            with self._mutex:
                if self._listening in ready:
                    self._accept()
                for link in list(self._links):
                    self._serve(link, ready)
                self._links = [link for link in self._links if link.server is not None]
            if self._is_stalled:
                self._ended.wait(_TICK_S)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        if len(self._links) >= _MOST_LINKS:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        except OSError:
            client.close()
            return
        for one in (client, server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(_Link(client, server))

    def _serve(self, link: _Link, ready: list[socket.socket]) -> None:
        """Take in what is there of one link and hand on what may be."""
        if self._is_stalled:
            return
        try:
            if (
                link.client
                and link.client in ready
                and not self._receive(link.client, link.to_server)
            ):
                if not link.is_held:
                    link.close()
                    return
                link.client.close()  # what it sent before it left is still held
                link.client = None
            if (
                link.server
                and link.server in ready
                and not self._receive(link.server, link.to_client)
            ):
                link.close()
                return
            self._send_to_server(link)
            self._send_to_client(link)
        except (OSError, ValueError):  # reset by one side, or closed by us
            link.close()

    def _receive(self, one: socket.socket, buffer: bytearray) -> bool:
        """Take in what a socket has; False where its other side ended."""
        try:
            there = one.recv(_BYTES)
        except BlockingIOError:
            return True
        buffer += there
        return bool(there)

    def _send_to_server(self, link: _Link) -> None:
        if link.is_held or not link.to_server or link.server is None:
            return
        left = self._cut_after
        with suppress(BlockingIOError):
            sent = link.server.send(link.to_server[: _BYTES if left is None else left])
            del link.to_server[:sent]
            if left is not None:
                self._cut_after = left - sent if left > sent else None
                if self._cut_after is None:
                    self._cut()

    def _send_to_client(self, link: _Link) -> None:
        if link.is_deaf or link.client is None:
            self.dropped += len(link.to_client) if link.is_deaf else 0
            self.answered += 0 if link.is_deaf else len(link.to_client)
            link.to_client.clear()
        elif link.to_client:
            with suppress(BlockingIOError):
                del link.to_client[: link.client.send(link.to_client)]
