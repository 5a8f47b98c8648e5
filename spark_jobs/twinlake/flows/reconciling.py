"""Reconcile online rows with their events, and repair those that differ.

An online row is a pure function of its view, the events and an ingest version, and carries the time
of that version's commit as its write timestamp. So whoever writes a row as of one version writes
the same row, and a later version wins, in whatever order they arrive. A repair therefore needs a
version that is later than what it mends, and brings nothing new: an empty batch, a *marker*. It
may run beside the publisher of the view: what that one writes is either older and does not get past
the repair, or newer and replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.resolution import stored_features
from twinlake.definitions.sources import Source
from twinlake.definitions.times import to_us
from twinlake.definitions.views import FeatureView
from twinlake.flows import publishing
from twinlake.flows.landing import land_marker, recover, require_whole
from twinlake.flows.project import Project, online_table, view_table
from twinlake.flows.requests import MARK, STREAM, ask_stream, by_stream_or
from twinlake.kernel.state import peek
from twinlake.lake import feature_rows, publication, reconciliation, tables
from twinlake.lake.publication import STATE
from twinlake.lake.reconciliation import KINDS, UNFIT, VALUE, VERSION, WRITE_US, Different
from twinlake.online.store import Key, OnlineRow
from twinlake.registry.inbox import Inbox
from twinlake.registry.places import Taken
from twinlake.registry.state import Landing

Item = TypeVar("Item")
# Online rows are read and written so many at a time: SQLite has one writer, and a stream that
# writes too must not wait for long.
_ROWS_PER_ROUND = 500
_ROWS_PER_GROUP = 5_000
_MOST_SHOWN = 10


@dataclass
class Reconciled:
    """What came of one view.

    Attributes:
        view: The view.
        table: Its online table.
        rows: Online rows that were compared.
        published: Up to which ingest version events were published.
        differing: Keys that differ, by kind; all kinds are there.
        first: A few of them.
        repaired: Keys whose rows were written anew, or deleted.
        marker: The ingest version as of which; None where nothing was repaired.
        stuck: A few keys that could not be repaired.
        stuck_keys: How many there are.
    """

    view: str
    table: str
    rows: int
    published: int
    differing: dict[str, int]
    first: list[Different] = field(default_factory=list)
    repaired: int = 0
    marker: int | None = None
    stuck: list[Key] = field(default_factory=list)
    stuck_keys: int = 0

    @property
    def differing_keys(self) -> int:
        """Keys that differ, of all kinds."""
        return sum(self.differing.values())

    @property
    def left(self) -> int:
        """Keys that still differ."""
        return self.differing_keys if self.marker is None else self.stuck_keys

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs, any more."""
        return self.left == 0


def reconcile(project: Project, view: FeatureView, *, repair: bool = False) -> Reconciled:
    """Compare every online row of a view with the fold of its events, and repair if asked to.

    Args:
        project: The project.
        view: The view.
        repair: Write rows that differ anew, and delete those of keys without events.

    Raises:
        StateError: There is no online table, the events table has lost rows, or, for a repair,
            another process than a stream lands the source or publishes the view.
    """
    scratch = project.places.new_scratch()
    with TemporaryDirectory(dir=scratch, prefix="reconcile-") as folder:
        differing = Path(folder) / "differing"
        found = _look(project, view, Path(folder) / "stored.parquet", differing)
        if repair and found.differing_keys:
            _repair(project, view, differing, found)
    return found


def _look(project: Project, view: FeatureView, stored: Path, differing: Path) -> Reconciled:
    """Compare the rows; which keys differ is kept in a file, for they may be many."""
    spark, source = project.spark, view.source.name
    if project.landings(source).all():
        require_whole(project, source)
    # In this order: what was published is online by now, what is online was landed by then.
    done = project.publications(view.name).all(view_fingerprint(view))
    published = max((one.events_version for one in done), default=0)
    rows = _store_rows(project, view, stored)
    landings = project.landings(source).all()
    accepted = sum(landing.accepted for landing in landings)
    project.tell(f"reconciling {view.name}: {rows:,} online rows with {accepted:,} events")
    path = project.places.events(source)
    folding = publishing.folding_of(project, view, 0, 0, 0)
    expected = reconciliation.Expected(
        published=published,
        newest=max((landing.version for landing in landings), default=0),
        newest_us=max((landing.landed_us or 0 for landing in landings), default=0),
        fingerprint=folding.fingerprint,
        table_id=folding.table_id,
    )
    weight = reconciliation.weight(rows, accepted)
    parts = feature_rows.parts_for(weight, spark.sparkContext.defaultParallelism)
    frame = reconciliation.differing(spark, path, view, stored, expected, parts)
    reconciliation.write(frame, differing)
    kept = reconciliation.kept(spark, differing)
    counts = reconciliation.counted(kept)
    first = reconciliation.first_of(kept, view, _MOST_SHOWN) if counts else []
    by_kind = {kind: counts.get(kind, 0) for kind in KINDS}
    return Reconciled(view.name, view_table(view), rows, published, by_kind, first)


def _store_rows(project: Project, view: FeatureView, file: Path) -> int:
    """Write all online rows to a file that workers read; give how many."""
    count = 0
    schema = reconciliation.stored_schema(view)
    with pq.ParquetWriter(file, schema) as writer:
        scanned = project.store.scan(online_table(view))
        for group in _groups(scanned, _ROWS_PER_GROUP):
            count += len(group)
            writer.write_table(_as_arrow(group, view, schema))
    return count


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def _as_arrow(rows: Sequence[OnlineRow], view: FeatureView, schema: pa.Schema) -> pa.Table:
    fingerprint = bytes.fromhex(view_fingerprint(view))
    peeked = [peek(row.state, fingerprint) if row.state else None for row in rows]
    cells: dict[str, list[Any]] = {
        name: [row.key[place] for row in rows] for place, name in enumerate(view.entity.join_keys)
    }
    cells["tl_event_us"] = [row.event_us for row in rows]
    cells["tl_known_us"] = [row.known_us for row in rows]
    cells["tl_valid_until_us"] = [row.valid_until_us for row in rows]
    cells[WRITE_US] = [row.write_us for row in rows]
    cells[VERSION] = [None if one is None else one.version for one in peeked]
    cells[STATE] = [reconciliation.state_hash(row.state or b"") for row in rows]
    unfit: list[list[str]] = [[] for _ in rows]
    types = online_table(view).feature_types
    for place, feature in enumerate(stored_features(view)):
        column = [row.values[place] for row in rows]
        for number, value in enumerate(column):
            if value is not None and types[place].problem(value) is not None:
                column[number] = None
                unfit[number].append(feature.name)
        if feature.type == "timestamp":
            column = [None if value is None else to_us(value) for value in column]
        cells[VALUE + feature.name] = column
    cells[UNFIT] = [",".join(names) or None for names in unfit]
    return pa.Table.from_pydict(cells, schema=schema)


def _repair(project: Project, view: FeatureView, differing: Path, found: Reconciled) -> None:
    """Write the rows that differ anew, as of an empty batch that is landed for it."""
    spark, path = project.spark, project.places.events(view.source.name)
    with _publisher_or_beside_stream(project, view):
        marker = marked(project, view.source)
        project.tell(
            f"repairing {view.name}: {found.differing_keys:,} keys as of version {marker.version}"
        )
        write_us = publishing.checked_write_us(project, marker.landed_us or 0)
        keys = reconciliation.kept(spark, differing)
        folding = publishing.folding_of(project, view, 0, marker.version, write_us)
        accepted = sum(each.accepted for each in project.landings(view.source.name).all())
        parts = feature_rows.parts_for(accepted, spark.sparkContext.defaultParallelism)
        names = [tables.quoted(name) for name in view.entity.join_keys]
        frame = publication.online_rows(spark, path, view, folding, parts, keys.select(*names))
        rows = publication.rows_at_driver(frame, view)
        for group in _groups(rows, _ROWS_PER_ROUND):
            publishing.write_online(project, view, iter(group), write_us)
            _check(project, view, {row.key: row for row in group}, marker, found)
        unknown = reconciliation.keys_without_events(spark, path, view, keys, marker.version)
        for gone in _groups(unknown, _ROWS_PER_ROUND):
            project.store.delete(online_table(view), gone, write_us)
            _check(project, view, dict.fromkeys(gone), marker, found)
        found.marker = marker.version


def _check(
    project: Project,
    view: FeatureView,
    wanted: Mapping[Key, publication.FoldedRow | None],
    marker: Landing,
    found: Reconciled,
) -> None:
    """Read keys back: each has the repaired row, or one that reflects what was landed since."""
    fingerprint = bytes.fromhex(view_fingerprint(view))
    stored = project.store.read(online_table(view), list(wanted))
    newest = project.landings(view.source.name).newest_version()
    for (key, folded), row in zip(wanted.items(), stored, strict=True):
        peeked = None if row is None else peek(row.state or b"", fingerprint)
        reflects = 0 if peeked is None else peeked.version
        is_newer = marker.version < reflects <= newest
        if row is None or folded is None:
            is_mended = row is None and folded is None
        else:
            is_mended = (row.values, row.state) == (folded.values, folded.state)
        if is_mended or is_newer:
            found.repaired += 1
            continue
        found.stuck_keys += 1
        if len(found.stuck) < _MOST_SHOWN:
            found.stuck.append(key)


@contextmanager
def _publisher_or_beside_stream(project: Project, view: FeatureView) -> Iterator[None]:
    """Be the publisher of a view, or work beside the stream that is: law 7 orders what both write.

    A batch job is not worked beside, though it might be: it holds an embedded store for longer than
    others wait.
    """
    with ExitStack() as held:
        try:
            held.enter_context(project.places.exclusively("publisher", view.name))
        except Taken as taken:
            if taken.by != STREAM:
                raise
        yield


def marked(project: Project, source: Source) -> Landing:
    """Have an empty batch landed, by this process or by the stream that is the lander.

    Raises:
        StateError: Another process lands the source, and is no stream.
    """

    def own() -> Landing:
        with project.places.exclusively("lander", source.name):
            recover(project, source)
            landed = project.landings(source.name).newest_version()
            path = project.places.events(source.name)
            newest = tables.require_version(project.spark, path, landed)
            return land_marker(project, source, newest.version + 1)

    def ask() -> Landing:
        inbox = Inbox(project.settings.state, source.name)
        request = inbox.new(MARK, {}, project.now_us())
        return Landing(**ask_stream(project, source.name, request)["landing"])

    return by_stream_or(project, source.name, own, ask)
