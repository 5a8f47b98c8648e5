"""The stores under test. Another one joins with an opener and a line in STORES.

A location is a string, so that a test's second process can open the same store by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.online_store.samples import METERS, PAIRS
from twinlake.online.sqlite import SqliteStore
from twinlake.online.store import OnlineStore

CASSANDRA = "TWINLAKE_TEST_CASSANDRA_PORT"
"""Where the server of this run listens; its fixture sets it."""
CHOSEN = os.environ.get("TWINLAKE_TEST_STORES", "sqlite").split(",")
"""The stores of this run; the lane decides."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Where stores may differ. A test asserts what holds on either side; it never skips."""

    reports_skips: bool
    """WriteReport counts rows that were left out; else every row counts as applied."""
    reports_conflicts: bool
    """Different rows of one write_us raise StateError; else one of them, or a mix, stays."""
    purge_forgets_order: bool
    """After a purge a write of any write_us counts again at once."""


@dataclass(frozen=True, slots=True)
class Subject:
    name: str
    location: str
    traits: Traits
    opener: Callable[[str], OnlineStore]

    def open(self) -> OnlineStore:
        return self.opener(self.location)


@dataclass(frozen=True, slots=True)
class Kind:
    traits: Traits
    place: Callable[[Path], str]
    opener: Callable[[str], OnlineStore]


def _open_sqlite(location: str) -> OnlineStore:
    return SqliteStore(Path(location), wait_seconds=30)


def _place_cassandra(_: Path) -> str:
    """One keyspace for all tests, emptied: making tables takes a server longer than most tests."""
    from tests.stack.servers import empty_keyspace

    return empty_keyspace(int(os.environ[CASSANDRA]), "conformance", {METERS.name, PAIRS.name})


def _open_cassandra(location: str) -> OnlineStore:
    from tests.stack.servers import settings_of
    from twinlake.online.cassandra import CassandraStore  # half a second that SQLite needs not

    return CassandraStore(settings_of(location))


STORES = {
    "cassandra": Kind(
        Traits(reports_skips=False, reports_conflicts=False, purge_forgets_order=False),
        place=_place_cassandra,
        opener=_open_cassandra,
    ),
    "sqlite": Kind(
        Traits(reports_skips=True, reports_conflicts=True, purge_forgets_order=True),
        place=lambda folder: str(folder / "online.db"),
        opener=_open_sqlite,
    ),
}


def subject(name: str, folder: Path) -> Subject:
    kind = STORES[name]
    return Subject(name, kind.place(folder), kind.traits, kind.opener)
