"""The stores under test. Another one joins with an opener and a line in STORES.

A location is a string, so that a test's second process can open the same store by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twinlake.online.sqlite import SqliteStore
from twinlake.online.store import OnlineStore


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


STORES = {
    "sqlite": Kind(
        Traits(reports_skips=True, reports_conflicts=True, purge_forgets_order=True),
        place=lambda folder: str(folder / "online.db"),
        opener=_open_sqlite,
    ),
}


def subject(name: str, folder: Path) -> Subject:
    kind = STORES[name]
    return Subject(name, kind.place(folder), kind.traits, kind.opener)
