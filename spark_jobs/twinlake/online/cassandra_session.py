"""The connection under the Cassandra store: attempts, deadlines, and what its errors mean.

Every statement may be repeated: writes and deletes carry their own timestamp, reads change nothing.
So what times out, or what an overloaded or restarting server refuses, is tried again with a
growing, jittered pause until the statement's deadline; then EnvironmentFailure says what was found.
"""

from __future__ import annotations

import heapq
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    Unauthorized,
)
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage
from cassandra.query import BoundStatement, PreparedStatement, Statement, tuple_factory

from twinlake.errors import EnvironmentFailure, StateError, TwinlakeError
from twinlake.settings import CassandraSettings

Result = TypeVar("Result")

PROTOCOL: Final = 4  # what Cassandra since 2.2 and Keyspaces speak; 5 adds a checksum per frame
_CONNECT_S: Final = 5  # until a server says that it is there
_LOOK_AROUND_S: Final = 30  # until one that is there has told of its cluster, however busy it is
_RECONNECT_S: Final = 0.5
_DDL_S: Final = 30
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_BYTES_IN_FLIGHT: Final = 16 << 20

# No attempt will end in another way.
_FINAL = (InvalidRequest, Unauthorized, AuthenticationFailed)
_REFUSALS = (
    DriverException,
    NoHostAvailable,
    ErrorMessage,
    ConnectionException,
    NoConnectionsAvailable,
    OSError,
)
"""All that the driver raises; it has no one class for it."""

# Python prints warnings of loggers that nobody configured. The driver's are about attempts, of
# which the user hears by our own message if they come to nothing.
logging.getLogger("cassandra").addHandler(logging.NullHandler())


class CassandraSession:
    """One process's connection to a cluster."""

    def __init__(self, settings: CassandraSettings) -> None:
        """Connect.

        Raises:
            EnvironmentFailure: Nothing answers, or it refuses; names the address.
        """
        self.settings = settings
        self.place = ", ".join(f"{host}:{settings.port}" for host in settings.hosts)
        self._request_s = settings.request_ms / 1000
        self._cluster, self._session = self._connect()

    def _connect(self) -> tuple[Cluster, Session]:
        local = DCAwareRoundRobinPolicy(self.settings.datacenter)
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(local),
            retry_policy=FallthroughRetryPolicy(),  # attempts are counted here, against a deadline
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            request_timeout=self._request_s,
            row_factory=tuple_factory,
        )
        cluster = Cluster(
            list(self.settings.hosts),
            port=self.settings.port,
            protocol_version=PROTOCOL,
            connection_class=LibevConnection,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_S, max_attempts=None),
            connect_timeout=_CONNECT_S,
            control_connection_timeout=_LOOK_AROUND_S,
            idle_heartbeat_interval=10,
            idle_heartbeat_timeout=10,
        )
        try:
            session = cluster.connect()
            self._refuse_unknown_datacenter(cluster)
        except _REFUSALS as error:
            cluster.shutdown()
            raise self.meaning(error) from None
        except BaseException:
            cluster.shutdown()
            raise
        return cluster, session

    def _refuse_unknown_datacenter(self, cluster: Cluster) -> None:
        known = sorted({str(host.datacenter) for host in cluster.metadata.all_hosts()})
        if self.settings.datacenter and self.settings.datacenter not in known:
            raise EnvironmentFailure(
                f"the cluster at {self.place} has no data center {self.settings.datacenter!r}",
                hint=f"[online] datacenter is one of: {', '.join(known)}",
            )

    @property
    def datacenter(self) -> str:
        """The data center whose nodes are asked."""
        if self.settings.datacenter:
            return self.settings.datacenter
        hosts = self._cluster.metadata.all_hosts()
        named = [host for host in hosts if host.address in self.settings.hosts]
        return str((named or hosts)[0].datacenter)

    def close(self) -> None:
        """Close every connection."""
        self._cluster.shutdown()

    def define(self, statement: str) -> None:
        """Carry out a CREATE or DROP and wait until all nodes know of it."""
        result = self._try_again(
            lambda: self._session.execute(statement, timeout=_DDL_S), seconds=2 * _DDL_S
        )
        if not result.response_future.is_schema_agreed:
            raise EnvironmentFailure(
                f"the nodes of the cluster at {self.place} do not agree on the schema",
                hint="wait until all nodes are up, then run it again",
            )

    def prepare(self, statement: str) -> PreparedStatement:
        """Prepare a statement; it may be repeated, and a majority decides."""
        prepared = self._try_again(lambda: self._session.prepare(statement))
        prepared.consistency_level = ConsistencyLevel.LOCAL_QUORUM
        prepared.is_idempotent = True
        return prepared

    def rows(self, statement: Statement | str) -> list[tuple[Any, ...]]:
        """The rows of one statement: one page of them, where it names a size."""
        # The first attempt without ceremony: it is nearly always the only one.
        try:
            found = self._session.execute_async(statement, timeout=self._request_s).result()
        except _REFUSALS as error:
            found = self._try_again(
                lambda: self._session.execute(statement, timeout=self._request_s), failed=error
            )
        rows: list[tuple[Any, ...]] = found.current_rows
        return rows

    def page(
        self, statement: Statement | str, state: bytes | None
    ) -> tuple[list[tuple[Any, ...]], bytes | None]:
        """One page from where the one before ended; and where it ended itself, None at the end."""
        found = self._try_again(
            lambda: self._session.execute(statement, timeout=self._request_s, paging_state=state)
        )
        return found.current_rows, found.paging_state

    def _try_again(
        self,
        call: Callable[[], Result],
        seconds: float | None = None,
        failed: Exception | None = None,
    ) -> Result:
        """Call until it succeeds or time is up; ``failed`` is a first attempt made before."""
        seconds = self.settings.read_s if seconds is None else seconds
        began, attempts = time.monotonic(), 0
        while True:
            if failed is not None:
                attempts += 1
                pause = _pause(attempts)
                if isinstance(failed, _FINAL):
                    raise self.meaning(failed) from None
                if time.monotonic() - began + pause > seconds:
                    raise self.meaning(failed, attempts, seconds) from None
                time.sleep(pause)
            try:
                return call()
            except _REFUSALS as error:
                failed = error

    def run_all(
        self,
        statements: Iterable[BoundStatement],
        seconds: float,
        take: Callable[[int, list[tuple[Any, ...]]], None] | None = None,
        weight: int = 1,
    ) -> int:
        """Run many statements, a bounded number and size of them at once; give how many.

        Args:
            statements: They are taken from as there is room.
            seconds: How long one may fail before it is given up.
            take: Is given the rows of each, with its position.
            weight: How many keys each asks for.

        Raises:
            EnvironmentFailure: One was given up. Others may be carried out or not.
        """
        room = max(1, self.settings.in_flight // weight)
        return _Window(self, self._session, seconds, take, room).run(statements)

    def meaning(
        self, error: Exception, attempts: int = 0, seconds: float | None = None
    ) -> TwinlakeError:
        """What an error of the driver means for the user."""
        cause = _cause(error)
        if isinstance(error, InvalidRequest) and _says_missing(cause):
            return StateError(
                f"the online store at {self.place} lacks a table: {cause}",
                hint="`twinlake apply` and `twinlake materialize` make it anew from the events",
            )
        if isinstance(error, Unauthorized | AuthenticationFailed):
            return EnvironmentFailure(
                f"the online store at {self.place} refuses: {cause}",
                hint="check the rights of the user that connects",
            )
        if isinstance(error, InvalidRequest):
            return EnvironmentFailure(f"the online store at {self.place} refuses: {cause}")
        tried = "" if seconds is None else f" within {seconds:g} s, {attempts} attempts"
        return EnvironmentFailure(
            f"the Cassandra store at {self.place} did not answer{tried}: {cause}",
            hint="start it (the local stack: bootstrap/stack up), or correct [online] hosts and "
            "port in the environment's file; what was written is kept, and running again goes on",
        )


def _says_missing(cause: str) -> bool:
    """Whether a refusal says that a table or keyspace is not there."""
    return "unconfigured table" in cause or "does not exist" in cause


def _cause(error: Exception) -> str:
    """The innermost reason, in one line."""
    if isinstance(error, NoHostAvailable) and error.errors:
        reasons = error.errors.values() if isinstance(error.errors, dict) else error.errors
        return "; ".join(sorted({_cause(one) for one in reasons if isinstance(one, Exception)}))
    text = " ".join(str(error).split())
    if "Last error: " in text:  # how the driver tells why it could not connect
        text = text.rpartition("Last error: ")[2]
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"


def _pause(attempts: int) -> float:
    """Longer after each attempt, and never the same for two: callers must not come together."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempts, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 (no secret)


class _Sent:
    """One statement on its way."""

    __slots__ = ("attempts", "failed_at", "position", "size", "statement")

    def __init__(self, statement: BoundStatement, position: int) -> None:
        self.statement = statement
        self.position = position
        self.size = sum(map(len, filter(None, statement.values)))
        self.attempts = 0
        self.failed_at = 0.0


_Answer = tuple[_Sent, list[tuple[Any, ...]] | None, Exception | None]


class _Window:
    """Statements in flight. All but the queue belongs to the calling thread."""

    def __init__(
        self,
        owner: CassandraSession,
        session: Session,
        seconds: float,
        take: Callable[[int, list[tuple[Any, ...]]], None] | None,
        room: int,
    ) -> None:
        self._owner = owner
        self._session = session
        self._seconds = seconds
        self._take = take
        self._room = room
        self._request_s = owner.settings.request_ms / 1000
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        self._flying = 0
        self._bytes = 0
        self._waiting: list[tuple[float, int, _Sent]] = []  # a heap of when to try again

    def run(self, statements: Iterable[BoundStatement]) -> int:
        position = 0
        source = iter(statements)
        while True:
            try:
                statement = next(source)
            except StopIteration:
                break
            except BaseException:
                self._let_land()  # what was sent is not left to surprise whoever comes next
                raise
            sent = _Sent(statement, position)
            position += 1
            while self._waiting or (
                self._flying >= self._room
                or (self._flying and self._bytes + sent.size > _BYTES_IN_FLIGHT)
            ):
                self._step()
            self._send(sent)
        while self._flying or self._waiting:
            self._step()
        return position

    def _send(self, sent: _Sent) -> None:
        self._flying += 1
        self._bytes += sent.size
        sent.attempts += 1
        answers = self._answers
        self._session.execute_async(sent.statement, timeout=self._request_s).add_callbacks(
            lambda rows: answers.put((sent, rows, None)),
            lambda error: answers.put((sent, None, error)),
        )

    def _step(self) -> None:
        """Take one answer, or send again what has waited long enough."""
        timeout = None
        if self._waiting:
            timeout = self._waiting[0][0] - time.monotonic()
            if timeout <= 0 and self._flying < self._room:
                self._send(heapq.heappop(self._waiting)[2])
                return
        try:
            sent, rows, error = self._answers.get(
                timeout=None if timeout is None else max(timeout, 0)
            )
        except Empty:
            return
        self._flying -= 1
        self._bytes -= sent.size
        if error is not None:
            self._wait_with(sent, error)
        elif self._take is not None:
            self._take(sent.position, rows or [])

    def _wait_with(self, sent: _Sent, error: Exception) -> None:
        now = time.monotonic()
        sent.failed_at = sent.failed_at or now
        if isinstance(error, _FINAL) or not isinstance(error, _REFUSALS):
            self._let_land()
            raise self._owner.meaning(error) from None
        if now - sent.failed_at > self._seconds:
            self._let_land()
            raise self._owner.meaning(error, sent.attempts, self._seconds) from None
        heapq.heappush(self._waiting, (now + _pause(sent.attempts), sent.position, sent))

    def _let_land(self) -> None:
        until = time.monotonic() + 2 * self._request_s
        with suppress(Empty):
            while self._flying:
                self._answers.get(timeout=max(0.0, until - time.monotonic()))
                self._flying -= 1


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
