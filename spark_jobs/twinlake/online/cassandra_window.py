"""Many requests in flight at once, a bounded number and size of them, each until its deadline."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

from cassandra.cluster import Session
from cassandra.query import BoundStatement, PreparedStatement

from twinlake.errors import EnvironmentFailure
from twinlake.online.cassandra_attempts import FINAL, REFUSALS, meaning, pause_s
from twinlake.online.cassandra_batches import Request, rows_of, size_of

_BYTES_IN_FLIGHT: Final = 16 << 20
_SILENCE_S: Final = 60

Take = Callable[[int, list[tuple[Any, ...]]], None]
"""Is given the rows that answer a request, with the request's position."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a window.

    Attributes:
        room: Most statements that wait for an answer at once; one request may hold more.
        request_s: How long one attempt may take.
        seconds: How long a request may fail before it is given up.
    """

    room: int
    request_s: float
    seconds: float


class _Sent:
    """One request on its way."""

    __slots__ = ("attempts", "failed_at", "position", "request", "rows", "size")

    def __init__(self, request: Request, position: int) -> None:
        self.request = request
        self.position = position
        self.rows = rows_of(request)
        self.size = size_of(request)
        self.attempts = 0
        self.failed_at = 0.0


_Answer = tuple[_Sent, list[tuple[Any, ...]] | None, Exception | None]


class Window:
    """Requests in flight. All but the queue belongs to the calling thread.

    Attributes:
        retries: How often a request was sent once more.
    """

    def __init__(
        self,
        session: Session,
        place: str,
        limits: Limits,
        take: Take | None = None,
    ) -> None:
        self._session = session
        self._place = place
        self._limits = limits
        self._take = take
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        self.retries = 0
        self._flying = 0
        self._bytes = 0
        self._waiting: list[tuple[float, int, _Sent]] = []  # a heap of when to try again

    def run(self, requests: Iterable[Request]) -> int:
        """Run them all; give how many statements they carried.

        Raises:
            EnvironmentFailure: One was given up. Others may be carried out or not.
            StateError: The table is gone.
        """
        position = carried = 0
        source = iter(requests)
        while True:
            try:
                request = next(source)
            except StopIteration:
                break
            except BaseException:
                self._let_land()  # what was sent is not left to surprise whoever comes next
                raise
            sent = _Sent(request, position)
            position += 1
            carried += sent.rows
            while self._waiting or not self._has_room(sent):
                self._step()
            self._send(sent)
        while self._flying or self._waiting:
            self._step()
        return carried

    def _has_room(self, sent: _Sent) -> bool:
        fits = self._flying + sent.rows <= self._limits.room
        return not self._flying or (fits and self._bytes + sent.size <= _BYTES_IN_FLIGHT)

    def _send(self, sent: _Sent) -> None:
        self._flying += sent.rows
        self._bytes += sent.size
        sent.attempts += 1
        answers = self._answers
        self._session.execute_async(sent.request, timeout=self._limits.request_s).add_callbacks(
            lambda rows: answers.put((sent, rows, None)),
            lambda error: answers.put((sent, None, error)),
        )

    def _step(self) -> None:
        """Take one answer, or send again what has waited long enough."""
        # The driver gives every statement an answer in time, be it that there was none in time.
        timeout = self._limits.request_s + _SILENCE_S
        if self._waiting:
            timeout = self._waiting[0][0] - time.monotonic()
            if timeout <= 0 and self._has_room(self._waiting[0][2]):
                self.retries += 1
                self._send(heapq.heappop(self._waiting)[2])
                return
        try:
            sent, rows, error = self._answers.get(timeout=max(timeout, 0))
        except Empty:
            if self._waiting:
                return
            raise EnvironmentFailure(
                f"the driver of the store at {self._place} has fallen silent with {self._flying} "
                "statements under way",
                hint="run it again; what was written is kept",
            ) from None
        self._flying -= sent.rows
        self._bytes -= sent.size
        if error is not None:
            self._wait_with(sent, error)
        elif self._take is not None:
            self._take(sent.position, rows or [])

    def _wait_with(self, sent: _Sent, error: Exception) -> None:
        now = time.monotonic()
        sent.failed_at = sent.failed_at or now
        if isinstance(error, FINAL) or not isinstance(error, REFUSALS):
            self._let_land()
            raise meaning(self._place, error) from None
        if now - sent.failed_at > self._limits.seconds:
            self._let_land()
            raise meaning(self._place, error, sent.attempts, self._limits.seconds) from None
        heapq.heappush(self._waiting, (now + pause_s(sent.attempts), sent.position, sent))

    def _let_land(self) -> None:
        until = time.monotonic() + 2 * self._limits.request_s
        with suppress(Empty):
            while self._flying:
                sent, _, _ = self._answers.get(timeout=max(0.0, until - time.monotonic()))
                self._flying -= sent.rows


def bind(prepared: PreparedStatement, cells: list[bytes | None]) -> BoundStatement:
    """Bind cells that are in the form of the protocol already.

    The driver's own ``bind`` would look at each value again, which costs as much as all else.
    """
    bound = BoundStatement(prepared)
    bound.values = cells
    return bound


def bound_all(
    prepared: PreparedStatement, cells: Iterable[list[bytes | None]]
) -> Iterator[BoundStatement]:
    """Bind many."""
    for each in cells:
        bound = BoundStatement(prepared)
        bound.values = each
        yield bound
