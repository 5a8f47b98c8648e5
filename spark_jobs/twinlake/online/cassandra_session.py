"""The connection under the Cassandra store: attempts, deadlines, and what its errors mean.

Every statement may be repeated: writes and deletes carry their own timestamp, reads change nothing.
So what times out, or what an overloaded or restarting server refuses, is tried again with a
growing, jittered pause until the statement's deadline; then EnvironmentFailure says what was found.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import BoundStatement, PreparedStatement, Statement, tuple_factory

from twinlake.errors import EnvironmentFailure
from twinlake.online.cassandra_attempts import FINAL, REFUSALS, meaning, pause_s
from twinlake.online.cassandra_batches import MOST_ROWS, Request, in_batches
from twinlake.online.cassandra_window import Limits, Take, Window
from twinlake.settings import CassandraSettings

Result = TypeVar("Result")

PROTOCOL: Final = 4  # what Cassandra since 2.2 and Keyspaces speak; 5 adds a checksum per frame
_CONNECT_S: Final = 5  # until a server says that it is there
_LOOK_AROUND_S: Final = 30  # until one that is there has told of its cluster, however busy it is
_RECONNECT_S: Final = 0.5
_DDL_S: Final = 30

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
            try:
                session = cluster.connect()
            except REFUSALS as error:
                self._refuse_unknown_datacenter(cluster)
                raise meaning(self.place, error) from None
            self._refuse_unknown_datacenter(cluster)
        except BaseException:
            cluster.shutdown()
            raise
        return cluster, session

    def _refuse_unknown_datacenter(self, cluster: Cluster) -> None:
        found = {host.datacenter for host in cluster.metadata.all_hosts()}
        known = sorted(str(name) for name in found if name)  # without one: it did not answer
        if self.settings.datacenter and known and self.settings.datacenter not in known:
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
        return self.rows_of_each([statement])[0]

    def rows_of_each(self, statements: Sequence[Statement | str]) -> list[list[tuple[Any, ...]]]:
        """The rows of a few statements; all are sent before the first answer is waited for."""
        send, seconds = self._session.execute_async, self._request_s
        sent = [(statement, send(statement, timeout=seconds)) for statement in statements]
        answers: list[list[tuple[Any, ...]]] = []
        for statement, future in sent:
            # The first attempt without ceremony: it is nearly always the only one.
            try:
                found = future.result()
            except REFUSALS as error:
                found = self._executed_again(statement, error)
            answers.append(found.current_rows)
        return answers

    def _executed_again(self, statement: Statement | str, failed: Exception) -> Any:  # noqa: ANN401 (of the driver)
        return self._try_again(
            lambda: self._session.execute(statement, timeout=self._request_s), failed=failed
        )

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
                pause = pause_s(attempts)
                if isinstance(failed, FINAL):
                    raise meaning(self.place, failed) from None
                if time.monotonic() - began + pause > seconds:
                    raise meaning(self.place, failed, attempts, seconds) from None
                time.sleep(pause)
            try:
                return call()
            except REFUSALS as error:
                failed = error

    def run_all(
        self,
        requests: Iterable[Request],
        seconds: float,
        take: Take | None = None,
        weight: int = 1,
    ) -> tuple[int, int]:
        """Run many requests, a bounded number and size of them at once.

        Args:
            requests: They are taken from as there is room.
            seconds: How long one may fail before it is given up.
            take: Is given the rows of each, with its position.
            weight: How many keys each is about.

        Returns:
            How many statements they carried, and how often a request was sent once more.
        """
        room = max(1, self.settings.in_flight // weight)
        limits = Limits(room, self._request_s, seconds)
        window = Window(self._session, self.place, limits, take)
        return window.run(requests), window.retries

    def write_all(self, statements: Iterable[BoundStatement], seconds: float) -> tuple[int, int]:
        """Run many that write, those for the same node a few at a time; else as ``run_all``."""
        # Half of what may be in flight stays for requests beside the one that is being sent.
        most = min(MOST_ROWS, self.settings.in_flight // 2)
        return self.run_all(in_batches(statements, self._replica_of, most), seconds)

    def _replica_of(self, statement: BoundStatement) -> Hashable:
        """The first node that holds a row: what has it in common has all replicas in common."""
        replicas = self._cluster.metadata.get_replicas(statement.keyspace, statement.routing_key)
        return replicas[0] if replicas else None
