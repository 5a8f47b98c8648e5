"""A lake and an online store as small models in virtual time, under the product's own code.

The lake keeps what Delta promises: commits have numbers and strictly increasing times, and of a
writer a number counts once. The store keeps what Cassandra promises: of two writes the one with
the later timestamp stays, whatever the order in which they come. Everything else, and above all
what can be lost or done twice, is up to ``Fate``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from twinlake import crash_points
from twinlake.definitions.sources import Source
from twinlake.definitions.times import MAX_US, MIN_US
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.kernel.views import ViewShape
from twinlake.lake import events, feature_rows, publication, stream_batches, stream_memory, tables
from twinlake.lake.claims import ClaimIndex, Claims
from twinlake.lake.recent import RecentEvents
from twinlake.online.store import Key, OnlineRow, OnlineTable, WriteReport

SPARK: Any = SimpleNamespace(sparkContext=SimpleNamespace(defaultParallelism=1))
TABLE_ID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


class Killed(BaseException):
    """The process is no more; no ``except Exception`` sees it."""


@dataclass
class Fate:
    """How many steps a process takes before it dies, and what becomes of what it had sent off.

    Attributes:
        left: Steps to go; None: it lives.
        commits_late: A commit that it was about to make is made by what outlives it.
        steps: All steps of all processes.
    """

    left: int | None = None
    commits_late: bool = False
    steps: int = 0

    def step(self) -> None:
        """Take one step, or die."""
        self.steps += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


@dataclass
class Table:
    """What was committed to one table."""

    commits: list[tables.Commit] = field(default_factory=list)
    parts: list[pa.Table] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> pa.Table | None:
        """All rows, oldest commit first."""
        return pa.concat_tables(self.parts).combine_chunks() if self.parts else None


class Lake:
    """Tables by path; ``install`` puts it where the product has Delta and Spark."""

    def __init__(self, fate: Fate, now_us: Callable[[], int]) -> None:
        self.fate = fate
        self.now_us = now_us
        self.tables: dict[Path, Table] = {}
        self.late: list[Callable[[], object]] = []

    def table(self, path: Path) -> Table:
        """Give a table; version 0 is its creation."""
        if path not in self.tables:
            self.tables[path] = Table([tables.Commit(0, self.now_us(), {}, 0)])
        return self.tables[path]

    def commit(
        self, path: Path, made: pa.Table, writer: str, number: int, metadata: Mapping[str, Any]
    ) -> tables.Commit | None:
        """Commit rows; None where that number of the writer counted before."""
        table = self.table(path)
        if number <= table.numbers.get(writer, 0):
            return None
        time_us = max(self.now_us(), table.commits[-1].time_us + 1_000) // 1_000 * 1_000
        told = json.loads(json.dumps(dict(metadata)))
        done = tables.Commit(len(table.commits), time_us, told, made.num_rows)
        table.commits.append(done)
        if made.num_rows:
            table.parts.append(made)
        table.numbers[writer] = number
        return done

    def try_commit(self, path: Path, made: pa.Table, **told: Any) -> tables.Commit | None:
        """Commit rows unless the process dies before; what outlives it may do so later."""
        try:
            self.fate.step()
        except Killed:
            if self.fate.commits_late:
                self.late.append(lambda: self.commit(path, made, **told))
            raise
        return self.commit(path, made, **told)

    def happened(
        self, path: Path, views: Sequence[FeatureView], version: int, extra: Sequence[str] = ()
    ) -> pa.Table | None:
        """Give the accepted events up to an ingest version, as workers take them."""
        rows = self.table(path).rows
        if rows is None:
            return None
        rows = rows.filter(pc.less_equal(rows.column("_version"), version))
        counted = pa.array(np.ones(rows.num_rows, np.bool_))
        rows = rows.append_column("_counts", counted)
        return stream_memory.taking_part(rows, views, extra)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of Delta and Spark."""
        for module, name, model in (
            (tables, "commits_back", self._commits_back),
            (tables, "newest_version", lambda _spark, path: len(self.table(path).commits) - 1),
            (tables, "last_commit", lambda _spark, path: self.table(path).commits[-1]),
            (tables, "append", self._append),
            (tables, "table_id", lambda _spark, _path: TABLE_ID),
            (events, "count", self._count),
            (stream_batches, "append_arrow", self._append_arrow),
            (stream_memory, "load_claims", self._load_claims),
            (stream_memory, "load_recent", self._load_recent),
            (stream_memory, "load_landed_after", self._load_landed_after),
            (stream_memory, "older_claims", self._older_claims),
            (feature_rows, "relevant_events", self._relevant_events),
            (feature_rows, "compute", self._compute),
            (feature_rows, "count_superseding", self._count_superseding),
            (publication, "online_rows", self._online_rows),
            (publication, "rows_at_driver", publication.rows_in),
        ):
            patch.setattr(module, name, model)
        patch.setattr(crash_points, "_POINT", _EveryPoint(self.fate))

    def claims(self, path: Path) -> Claims:
        """Give the claims of all accepted rows."""
        rows = self.table(path).rows
        if rows is None:
            return Claims.none()
        rows = rows.filter(pc.equal(rows.column("_verdict"), events.ACCEPTED)).combine_chunks()
        tid = rows.column("tid").to_numpy()
        hashes = [rows.column(f"_hash_{half}").to_numpy() for half in "ab"]
        times = rows.column("_event_timestamp").cast(pa.int64()).to_numpy()
        return Claims(tid, ~tid, hashes[0], hashes[1], times)

    def _commits_back(self, _spark: object, path: Path) -> Iterator[tables.Commit]:
        return reversed(list(self.table(path).commits))

    def _count(self, _spark: object, path: Path, version: int) -> int:
        rows = self.table(path).rows
        return 0 if rows is None else pc.sum(_up_to(rows, version)).as_py() or 0

    def _append(self, frame: pa.Table, path: Path, **told: Any) -> None:
        self.try_commit(path, frame, **told)

    def _append_arrow(
        self,
        _spark: object,
        made: pa.Table,
        _columns: object,
        path: Path,
        *,
        scratch: Path,
        **told: Any,
    ) -> tables.Commit:
        assert scratch.is_dir()
        done = self.try_commit(path, made, **told)
        if done is None:
            raise StateError("that number was committed by another process")
        return done

    def _load_claims(
        self, _spark: object, path: Path, _source: Source, since_us: int
    ) -> ClaimIndex:
        index = ClaimIndex(since_us)
        claims = self.claims(path)
        index.add(claims.take(claims.event_us > since_us))
        return index

    def _older_claims(
        self, _spark: object, path: Path, _source: Source, _older: Claims
    ) -> ClaimIndex:
        index = ClaimIndex(MIN_US)
        index.add(self.claims(path))
        return index

    def _load_recent(
        self,
        _spark: object,
        path: Path,
        _source: Source,
        views: Sequence[FeatureView],
        since_us: int,
        extra: Sequence[str] = (),
    ) -> RecentEvents:
        recent = RecentEvents(since_us)
        if (found := self.happened(path, views, MAX_US, extra)) is not None:
            recent.add(found)
        return recent

    def _load_landed_after(
        self,
        _spark: object,
        path: Path,
        _source: Source,
        views: Sequence[FeatureView],
        version: int,
        most: int,
    ) -> pa.Table | None:
        found = self.happened(path, views, MAX_US)
        if found is None:
            return pa.table({})
        found = found.filter(pc.greater(found.column("version"), version))
        return None if found.num_rows > most else found

    def _relevant_events(
        self, _spark: object, path: Path, view: FeatureView, work: feature_rows.Work
    ) -> pa.Table:
        return self.happened(path, [view], work.version)

    def _compute(
        self, frame: pa.Table, view: FeatureView, work: feature_rows.Work, _parts: int
    ) -> pa.Table:
        made = feature_rows.rows_of_part(frame.to_batches(), ViewShape.of(view), work)
        batches = list(made)
        return pa.Table.from_batches(batches) if batches else pa.table({})

    def _count_superseding(self, _spark: object, path: Path, work: feature_rows.Work) -> int:
        rows = self.table(path).rows
        if rows is None:
            return 0
        ours = rows.filter(pc.equal(rows.column("_view_version"), work.version))
        return int(pc.sum(_up_to(ours, work.after_version, "_event_version")).as_py() or 0)

    def _online_rows(
        self, _spark: object, path: Path, view: FeatureView, folding: publication.Folding, _n: int
    ) -> list[pa.RecordBatch]:
        found = self.happened(path, [view], folding.version)
        assert found is not None
        new = pc.greater(found.column("version"), folding.after_version)
        (name,) = view.entity.join_keys
        touched = found.filter(new).column(name)
        chosen = found.filter(pc.is_in(found.column(name), value_set=touched.combine_chunks()))
        return list(publication.fold_part(chosen.to_batches(), ViewShape.of(view), folding))


def _up_to(rows: pa.Table, version: int, column: str = "_version") -> pa.ChunkedArray:
    return pc.less_equal(rows.column(column), version).cast(pa.int64())


class _EveryPoint:
    """Every crash point is a step, in the place of what the environment asks for."""

    is_idle, is_known, seen = False, True, ""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate

    @property
    def name(self) -> str:
        self._fate.step()
        return ""


class Store:
    """An online store that may lose, hold back and repeat what a dying process wrote."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.rows: dict[tuple[str, Key], OnlineRow] = {}
        self.in_flight: list[tuple[str, OnlineRow]] = []
        self.sent: list[tuple[str, OnlineRow]] = []
        self.observed: dict[tuple[str, Key], OnlineRow] = {}

    def write(self, table: OnlineTable, rows: Iterable[OnlineRow]) -> WriteReport:
        """Write rows one by one; of the one at which the process dies nobody knows."""
        count = 0
        for row in rows:
            try:
                self.fate.step()
            except Killed:
                self.in_flight.append((table.name, row))
                raise
            self.arrive(table.name, row)
            self.sent.append((table.name, row))
            count += 1
        return WriteReport(count, 0)

    def arrive(self, table: str, row: OnlineRow) -> None:
        """Let a write arrive: the later timestamp stays, and of equal ones the greater row."""
        there = self.rows.get((table, row.key))
        if there is None or (row.write_us, row.state) > (there.write_us, there.state):
            self.rows[table, row.key] = row

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """Give the rows of keys."""
        return [self.rows.get((table.name, key)) for key in keys]

    def scan(self, table: OnlineTable) -> Iterator[OnlineRow]:
        """Give all rows of a table."""
        return iter([row for (name, _), row in self.rows.items() if name == table.name])

    def check_never_back(self) -> None:
        """What is served of a key never gets older, law 7."""
        for place, row in self.rows.items():
            before = self.observed.get(place)
            if before is not None:
                assert row.write_us >= before.write_us
                assert row.event_us >= before.event_us, (before, row)
            self.observed[place] = row
