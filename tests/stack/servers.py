"""Private servers for tests: own folder, own ports, and nothing of them left behind.

A stack of a test runs Cassandra unless it says otherwise; functions that ask for one server mean
the only one of their stack, or the one that is named.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy

from bootstrap.services.processes import LOOPBACK, free_port
from bootstrap.stack import SERVICES, Stack, Status
from twinlake.settings import CassandraSettings

_PATIENCE_S = 120
_START_S = 1200  # beside other work, at the lowest priority


def settings_of(location: str, **changed: int) -> CassandraSettings:
    """Settings for a location of the form ``port/keyspace``, for a server that is short of CPU."""
    port, _, keyspace = location.partition("/")
    told = {"port": int(port), "replication": 1, "request_ms": 20_000, "read_s": 120, **changed}
    return CassandraSettings(hosts=(LOOPBACK,), datacenter="datacenter1", keyspace=keyspace, **told)


@contextmanager
def private_stack(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    services: Sequence[str] = ("cassandra",),
) -> Iterator[Stack]:
    """A stack on ports that nobody else uses; it runs inside the block, and not after it."""
    stack = idle_stack(folder, environ, services)
    try:
        stack.up(own_ports(services))
        yield stack
    finally:
        stack.down()


def idle_stack(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    services: Sequence[str] = ("cassandra",),
) -> Stack:
    """A stack of these services that nobody has started."""
    meant = [service for service in SERVICES if service.name in services]
    return Stack(folder, os.environ if environ is None else environ, _START_S, meant)


def own_ports(services: Sequence[str] = ("cassandra",)) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for service in (service for service in SERVICES if service.name in services):
        for name in service.ports:
            chosen[f"{service.name}.{name}"] = free_port((), list(chosen.values()))
    return chosen


def status_of(stack: Stack, service: str | None = None) -> Status:
    (status,) = (one for one in stack.status() if service in (None, one.service))
    return status


def port_of(stack: Stack, service: str | None = None) -> int:
    return status_of(stack, service).ports["port"]


def kill(stack: Stack, service: str | None = None) -> int:
    """Kill a server and wait until it is gone, which a signal alone does not say; its pid."""
    status = status_of(stack, service)
    assert status.pid is not None
    process = os.pidfd_open(status.pid)
    try:
        os.kill(status.pid, signal.SIGKILL)
        assert select.select([process], [], [], _PATIENCE_S)[0]
    finally:
        os.close(process)
    return status.pid


@cache
def client(port: int) -> Session:
    """A plain client of the driver, as somebody without twinlake would use it; it is patient."""
    profile = ExecutionProfile(
        load_balancing_policy=RoundRobinPolicy(), request_timeout=_PATIENCE_S
    )
    cluster = Cluster(
        [LOOPBACK],
        port=port,
        protocol_version=4,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=_PATIENCE_S,
        control_connection_timeout=_PATIENCE_S,
    )
    return cluster.connect()


def empty_keyspace(port: int, keyspace: str, kept: set[str]) -> str:
    """Empty the tables that are kept, drop the others; the location of the keyspace."""
    session = client(port)
    found = session.execute(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", [keyspace]
    )
    for (name,) in found:
        verb = "TRUNCATE" if name in kept else "DROP TABLE"
        session.execute(f'{verb} "{keyspace}"."{name}"')
    return f"{port}/{keyspace}"
