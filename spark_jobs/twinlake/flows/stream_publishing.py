"""Publish one batch of a stream: online rows first, then feature rows, then the record of both.

The online row is a pure function of the events table, which holds the batch by now, so it need not
wait for the feature view table. Both are computed at the driver from the events of the last while,
by the functions that Spark's workers run in batch jobs. A batch that looks further back than what
is held is computed from the lake instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.times import ALWAYS, MAX_US, MIN_US
from twinlake.definitions.views import FeatureView
from twinlake.flows import publishing
from twinlake.flows.project import Project, view_table
from twinlake.flows.view_topics import ViewTopic
from twinlake.kernel.views import ViewShape
from twinlake.lake import feature_rows, publication, stream_batches, stream_memory, tables
from twinlake.lake.recent import RecentEvents, distinct_keys
from twinlake.online.store import WriteReport
from twinlake.registry.state import Publication

# More events than this that wait to be published are folded by Spark.
_MOST_LEFT = 200_000


@dataclass(frozen=True)
class NewEvents:
    """What a batch brought.

    Attributes:
        version: Its ingest version.
        version_us: When it was committed.
        events: Its accepted events that take part in features.
    """

    version: int
    version_us: int
    events: pa.Table


@dataclass(frozen=True, slots=True)
class Published:
    """What a batch came to in one view.

    Attributes:
        feature_rows, online_rows: How many were written.
        is_slow: Whether it was computed from the lake.
        retries: How often an online row had to be sent once more.
    """

    feature_rows: int
    online_rows: int
    is_slow: bool = False
    retries: int = 0


class StreamPublisher:
    """The publisher of one view, batch after batch.

    Args:
        project: The project.
        view: The view; it is published up to the newest landing.
    """

    def __init__(self, project: Project, view: FeatureView) -> None:
        self.project = project
        self.view = view
        self._shape = ViewShape.of(view)
        self._fingerprint = view_fingerprint(view)
        self._path = project.places.view(view_table(view))
        done = project.publications(view.name).all(self._fingerprint)
        self._version = max((one.events_version for one in done), default=0)
        self._table_version = done[-1].table_version if done else 0
        self._spent: tables.Commit | None = None
        self._pending: tuple[pa.Table, WriteReport] | None = None
        self._topic = None if view.topic is None else ViewTopic(project, view, self._version)
        # What stays the same from batch to batch is asked for once.
        self._folding = publishing.folding_of(project, view, self._version, self._version, 0)

    def catch_up(self, recent: RecentEvents) -> None:
        """Publish what was landed since, as if it had come by one batch.

        From what is held where that suffices, so that a restart takes as long after a year as after
        a day; else from the lake.

        Args:
            recent: The events held, those landed since among them.
        """
        due = publishing.find_due(self.project, self.view, ALWAYS)
        if due is None:
            return
        path, source = self.project.places.events(self.view.source.name), self.view.source
        happened = stream_memory.load_landed_after(
            self.project.spark, path, source, [self.view], self._version, _MOST_LEFT
        )
        if happened is None:
            publishing.catch_up(self.project, self.view, ALWAYS)
            self._note_published(due.version)
            return
        self.project.tell(f"publishing {self.view.name}: {happened.num_rows:,} events left")
        self._spent = publishing.interrupted(self.project, self.view)
        new = NewEvents(due.version, due.version_us, happened)
        self.write_online(new, recent)
        self.append_rows(new)
        self._spent = None

    def write_online(self, new: NewEvents, recent: RecentEvents) -> int | None:
        """Write the online rows of a batch that ``recent`` holds already.

        Returns:
            When all of them could be read; None where that has to wait for ``append_rows``.
        """
        self._pending = None
        if not new.events.num_rows:
            return None
        relevant = self._relevant(new, recent)
        if relevant is None:
            return None
        self._pending = relevant, self._write_online(new, relevant)
        reached("streaming.online_written")
        return self.project.now_us()

    def append_rows(self, new: NewEvents) -> Published:
        """Append the feature rows of the batch, and write down that it is published."""
        if not new.events.num_rows:
            # Whoever waits for the view to reflect this version must not wait for another batch.
            self._write_down(new, 0, self._table_version, WriteReport(0, 0), superseding=False)
            return Published(0, 0)
        if self._pending is None:
            return self._publish_from_lake(new)
        relevant, written = self._pending
        rows = self._feature_rows(new, relevant)
        commit = self._spent or self._append(rows, new.version)
        reached("streaming.rows_appended")
        if self._topic is not None:
            self._topic.send(rows, new.version)
        older = pc.less_equal(rows.column("_event_version"), self._version)
        superseding = bool(pc.any(older).as_py())
        self._write_down(new, commit.rows, commit.version, written, superseding=superseding)
        return Published(commit.rows, written.rows, retries=written.retries)

    def _write_down(
        self,
        new: NewEvents,
        feature_rows: int,
        table_version: int,
        written: WriteReport,
        *,
        superseding: bool,
    ) -> None:
        publications = self.project.publications(self.view.name)
        done = Publication(
            number=publications.next_number(),
            fingerprint=self._fingerprint,
            events_version=new.version,
            start_us=MIN_US,
            end_us=MAX_US,
            feature_rows=feature_rows,
            table_version=table_version,
            online_rows=written.rows,
            write_us=new.version_us,
            superseding=superseding,
        )
        publications.go_on(done)
        self._version, self._table_version = new.version, table_version

    def _relevant(self, new: NewEvents, recent: RecentEvents) -> pa.Table | None:
        """Give the events that the batch's rows depend on; None where they reach further back."""
        earliest_us = pc.min(new.events.column("event_us")).as_py()
        if recent.is_cut and earliest_us - self._shape.reach_us < recent.since_us:
            return None
        keys = list(self._shape.keys)
        relevant = recent.of_keys(distinct_keys(new.events, keys))
        if relevant is None or _some_key_lies_ahead(relevant, keys, new.version_us):
            return None
        return relevant

    def _publish_from_lake(self, new: NewEvents) -> Published:
        done = publishing.catch_up(self.project, self.view, ALWAYS)
        self._note_published(new.version)
        if done is None:
            return Published(0, 0, is_slow=True)
        return Published(done.feature_rows, done.online_rows, is_slow=True)

    def _note_published(self, version: int) -> None:
        """Go on from what was published from the lake."""
        done = self.project.publications(self.view.name).all(self._fingerprint)
        self._version, self._table_version = version, done[-1].table_version
        if self._topic is not None:
            self._topic.send_written(version)

    def _write_online(self, new: NewEvents, relevant: pa.Table) -> WriteReport:
        write_us = publishing.checked_write_us(self.project, new.version_us)
        folding = replace(
            self._folding,
            after_version=self._version,
            version=new.version,
            version_us=new.version_us,
        )
        folded = publication.fold_part(relevant.to_batches(), self._shape, folding)
        rows = publication.rows_in(folded, self.view)
        return publishing.write_online(self.project, self.view, rows, write_us)

    def _feature_rows(self, new: NewEvents, relevant: pa.Table) -> pa.Table:
        work = feature_rows.Work(self._version, new.version, (ALWAYS,), ())
        made = feature_rows.rows_of_part(relevant.to_batches(), self._shape, work)
        return pa.Table.from_batches(list(made))

    def _append(self, rows: pa.Table, version: int) -> tables.Commit:
        number = self.project.publications(self.view.name).next_number()
        metadata = publishing.commit_metadata(number, version, ALWAYS)
        return stream_batches.append_arrow(
            self.project.spark,
            rows,
            feature_rows.columns(self.view),
            self._path,
            writer=publishing.publisher(self.view),
            number=number,
            metadata=metadata,
            scratch=self.project.places.new_scratch(),
        )


def needs_lake(project: Project, view: FeatureView) -> bool:
    """Tell whether a view cannot be brought up to date as by one more batch of the stream.

    That is where event times were never computed, or a publication was interrupted that other
    rows have followed or that was for other event times.
    """
    due = publishing.find_due(project, view, ALWAYS)
    if due is None:
        return False
    spent = publishing.interrupted(project, view)
    number = project.publications(view.name).next_number()
    wanted = publishing.commit_metadata(number, due.version, ALWAYS)
    return bool(due.missing) or (spent is not None and spent.metadata != wanted)


def _some_key_lies_ahead(relevant: pa.Table, keys: list[str], version_us: int) -> bool:
    """Tell whether a key has no event that happened and was known by the time of its commit.

    Its newest value as of then is older than what is held.
    """
    time_us = pc.max_element_wise(relevant.column("event_us"), relevant.column("known_us"))
    settled = relevant.filter(pc.less_equal(time_us, version_us))
    return len(distinct_keys(settled, keys)) < len(distinct_keys(relevant, keys))
