"""The lander of a source that also publishes: what a stream is, and who pushes rows, for a while.

The order of a batch: judge it, settle its identities, commit it to the events table, write that
down; then per view: fold the touched keys online, append their feature rows, write that down. All
of it may be repeated: Delta knows a commit that it has by its number, an online row is only
replaced by one that reflects more, and a batch that was landed is never judged again. What a killed
lander left is finished before a new one goes on, by the same code that batch jobs use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import source_fingerprint, view_fingerprint
from twinlake.definitions.sources import Source
from twinlake.definitions.times import ALWAYS, MIN_US
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.flows.landing import land_marker, recover, stream_landing
from twinlake.flows.project import Project
from twinlake.flows.publishing import catch_up
from twinlake.flows.stream_publishing import NewEvents, StreamPublisher, needs_lake
from twinlake.flows.stream_scoring import Scored, Scoring, StreamScorer, held_columns
from twinlake.kernel.views import ViewShape
from twinlake.lake import stream_batches, stream_memory, tables
from twinlake.lake.recent import RecentEvents
from twinlake.planning.planner import added_columns, widens
from twinlake.registry.state import Landing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Beyond what windows reach this much is held, so that events may be late by it at no cost.
_SLACK_US = 3_600_000_000
# A request that was carried out by a lander that died is among the newest commits.
_LOOKED_BACK = 50
_MOST_NOTED = 10_000
_QUANTILES = (0.5, 0.99)


@dataclass
class Progress:
    """What a stream did so far.

    Attributes:
        batches: Batches that held rows.
        read, accepted, duplicate, quarantined, erased: Rows by verdict.
        feature_rows, online_rows: By view.
        slow_batches: Publications that were computed from the lake.
        scored: By model.
        readable_us: When the newest batches could be read online, by ingest version.
        retries: How often an online row had to be sent once more.
        late: Accepted rows that are older than what had been accepted before.
        below_horizon: Those that are older than what is held in memory.
        lag: Records of the topic that wait to be read, after the batch before; None where it has
            none to tell.
        parity_compared, parity_mismatching: Served cells that were recomputed while it ran.
        validations: How often Great Expectations looked at what was landed.
        expectations_failed: How many did not hold the last time.
        clock_us: The newest accepted event.
        batch_s: Seconds that the parts of the newest batch took.
        freshness_s: Of the newest batch, from an event to its being readable, by quantile.
    """

    batches: int = 0
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    erased: int = 0
    feature_rows: dict[str, int] = field(default_factory=dict)
    online_rows: dict[str, int] = field(default_factory=dict)
    slow_batches: int = 0
    scored: dict[str, Scored] = field(default_factory=dict)
    readable_us: dict[int, int] = field(default_factory=dict)
    retries: int = 0
    late: int = 0
    below_horizon: int = 0
    lag: int | None = None
    parity_compared: int = 0
    parity_mismatching: int = 0
    validations: int = 0
    expectations_failed: int = 0
    clock_us: int | None = None
    batch_s: dict[str, float] = field(default_factory=dict)
    freshness_s: dict[float, float] = field(default_factory=dict)

    def note_readable(self, version: int, at_us: int) -> None:
        """Note when a batch could be read online; of the oldest ones nothing is kept."""
        self.readable_us[version] = max(at_us, self.readable_us.get(version, at_us))
        if len(self.readable_us) > _MOST_NOTED:
            del self.readable_us[next(iter(self.readable_us))]


class DefinitionsChangedError(StateError):
    """Others are applied than those that a lander goes by; it has to begin anew.

    Args:
        source: The source that it lands.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(
            f"the definitions of {source.name} or its views changed while it streamed",
            hint="start the stream again: it goes on where it ended, by the new definitions",
        )


class ColumnsAddedError(DefinitionsChangedError):
    """A source got further columns while its rows were landed; what is landed holds nothing there.

    Args:
        source: The source as it is applied now.
        columns: Those that are new.
    """

    def __init__(self, source: Source, columns: Sequence[Field]) -> None:
        super().__init__(source)
        self.columns = ", ".join(column.name for column in columns)


class SourceLander:
    """The lander of a source, and the publisher of some of its views, until it is closed.

    Args:
        project: The project.
        source: The source.
        views: The views to publish.
        by: What others are told who want to land too.
        models: The models that score the source's events, each with how it is asked.
        progress: What was done before, to go on counting from.

    Raises:
        StateError: Another process lands the source or publishes one of the views.
    """

    def __init__(
        self,
        project: Project,
        source: Source,
        views: Sequence[FeatureView],
        by: str,
        models: Mapping[str, Scoring] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.project = project
        self.source = source
        self.progress = progress or Progress()
        self._path = project.places.events(source.name)
        applied = project.applied()
        self._registry_number = applied.number
        # All views on the source: a row without their keys is of no use, whoever publishes them.
        self.all_views = [
            view for view in applied.definitions.views.values() if view.source.name == source.name
        ]
        self._views = list(views)
        self._models = [(project.model(name), how) for name, how in (models or {}).items()]
        held = [name for model, _ in self._models for name in held_columns(model)]
        self._extra = list(dict.fromkeys(held))
        self._locks = ExitStack()
        try:
            places = project.places
            self._locks.enter_context(places.exclusively("lander", source.name, by))
            for view in views:
                self._locks.enter_context(places.exclusively("publisher", view.name, by))
            for name in models or {}:
                self._locks.enter_context(places.exclusively("scorer", name, by))
            self.catch_up()
        except BaseException:
            self.close()
            raise

    @property
    def recent(self) -> RecentEvents:
        """The events that are held."""
        return self._recent

    def close(self) -> None:
        """Be the lander no longer."""
        self._locks.close()

    def catch_up(self) -> None:
        """Finish what was left or landed by others, and hold what batches in time need."""
        recover(self.project, self.source)
        for view in self._views:
            if needs_lake(self.project, view):
                catch_up(self.project, view, ALWAYS)
        spark = self.project.spark
        landings = self.project.landings(self.source.name)
        self._version = max(
            landings.newest_version(),
            tables.newest_version(spark, self._path),
        )
        self._clock_us = landings.newest_event_us()
        self._reach_us = max((ViewShape.of(v).reach_us for v in self.all_views), default=0)
        since_us = self._since_us()
        self._claims = stream_memory.load_claims(spark, self._path, self.source, since_us)
        self._recent = stream_memory.load_recent(
            spark, self._path, self.source, self.all_views, since_us, self._extra
        )
        self._publishers = [StreamPublisher(self.project, view) for view in self._views]
        for publisher in self._publishers:
            publisher.catch_up(self._recent)
        self._scorers = [
            StreamScorer(self.project, model, self._version, how) for model, how in self._models
        ]
        for scorer in self._scorers:
            self._count_scored(scorer.model.name, scorer.catch_up(self._recent, self.all_views))

    def _since_us(self) -> int:
        if self._clock_us is None:
            return MIN_US
        return self._clock_us - self._reach_us - max(self._reach_us // 4, _SLACK_US)

    def landed_as(self, query: str, request: str) -> Landing | None:
        """Give what was landed for a request that an earlier lander began; None for nothing."""
        for commit in tables.commits(self.project.spark, self._path, _LOOKED_BACK):
            if commit.metadata.get("request") == request and commit.metadata["query"] == query:
                return stream_landing(commit.metadata, commit.time_us)
        return None

    def judging(self, rows: DataFrame) -> DataFrame:
        """Judge rows as far as Spark does it: what ``take`` takes, of a batch or a stream."""
        forgotten = self.project.forgotten(self.source)
        return stream_batches.judging(rows, self.source, self.all_views, forgotten)

    def take(
        self,
        rows: DataFrame,
        origin: dict[str, Any],
        before_landing: Callable[[], None] | None = None,
    ) -> Landing | None:
        """Land a batch of rows and publish what it changes.

        Args:
            rows: What ``judging`` gave.
            origin: ``query`` and ``query_batch``: what the batch is, for its commit.
            before_landing: Is called when all rows were read; what it raises ends the stream.

        Returns:
            What was landed; None where there were no rows.
        """
        self.refuse_changed_definitions()
        reached("streaming.begun")
        with self._timed("judge"):
            now_us = self.project.now_us()
            batch = stream_batches.judged(rows, self.source, now_us)
        if before_landing is not None:
            before_landing()
        return self.take_judged(batch, origin)

    def take_judged(self, batch: pa.Table, origin: dict[str, Any]) -> Landing | None:
        """Do what ``take`` does, from judged rows on."""
        if not batch.num_rows:
            return None
        spark = self.project.spark
        batch = stream_batches.settled(spark, self._path, self.source, batch, self._claims)
        reached("streaming.judged")
        with self._timed("land"):
            landing, happened = self._land(batch, origin)
        reached("streaming.written_down")
        self._publish(landing, happened)
        reached("streaming.published")
        return landing

    def mark(self) -> Landing:
        """Land an empty batch; nothing is published, for nothing changes."""
        landing = land_marker(self.project, self.source, self._version + 1)
        self._version = landing.version
        return landing

    def _land(self, batch: pa.Table, origin: dict[str, Any]) -> tuple[Landing, pa.Table]:
        version = self._version + 1
        named = f"{origin['query'][:8]}-{origin['query_batch']}"
        batch = stream_batches.numbered(batch, version, named)
        counts = stream_batches.counts(batch)
        metadata = {
            "batch": named,
            "ingest_version": version,
            "counts": {name: getattr(counts, name) for name in counts.__slots__},
            **origin,
        }
        commit = stream_batches.append(
            self.project.spark,
            self._path,
            self.source,
            batch,
            version=version,
            metadata=metadata,
            scratch=self.project.places.new_scratch(),
        )
        reached("streaming.committed")
        landing = stream_landing(metadata, commit.time_us)
        self._version = max(version, commit.version)
        self.project.landings(self.source.name).go_on(landing)
        self._count(landing)
        return landing, stream_memory.taking_part(batch, self.all_views, self._extra)

    def _count(self, landing: Landing) -> None:
        told = self.progress
        told.batches += 1
        told.read += landing.read
        told.accepted += landing.accepted
        told.duplicate += landing.duplicate
        told.quarantined += landing.quarantined
        told.erased += landing.erased
        if landing.data_clock_us is not None:
            self._clock_us = max(landing.data_clock_us, self._clock_us or landing.data_clock_us)

    def _publish(self, landing: Landing, happened: pa.Table) -> None:
        event_us = happened.column("event_us").to_numpy()
        told = self.progress
        if told.clock_us is not None:
            told.late += int(np.count_nonzero(event_us < told.clock_us))
        told.below_horizon += int(np.count_nonzero(event_us <= self._recent.since_us))
        told.clock_us = self._clock_us
        self._recent.add(happened)
        new = NewEvents(landing.version, landing.landed_us or 0, happened)
        # Online first: what is read should not wait for what is kept.
        with self._timed("online"):
            for publisher in self._publishers:
                readable_us = publisher.write_online(new, self._recent)
                if readable_us is not None and len(event_us):
                    told.note_readable(new.version, readable_us)
                    waits = (told.readable_us[new.version] - event_us) / 1_000_000
                    told.freshness_s = {q: float(np.quantile(waits, q)) for q in _QUANTILES}
        with self._timed("score"):
            for scorer in self._scorers:
                self._count_scored(scorer.model.name, scorer.take(new, self._recent))
        with self._timed("feature_rows"):
            for publisher in self._publishers:
                done = publisher.append_rows(new)
                name = publisher.view.name
                told.feature_rows[name] = told.feature_rows.get(name, 0) + done.feature_rows
                told.online_rows[name] = told.online_rows.get(name, 0) + done.online_rows
                told.slow_batches += done.is_slow
                told.retries += done.retries
        self._let_go()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.progress.batch_s[part] = time.monotonic() - began

    def _count_scored(self, model: str, done: Scored) -> None:
        self.progress.scored[model] = self.progress.scored.get(model, Scored()) + done

    def _let_go(self) -> None:
        """Let go of what no batch in time needs, now and then."""
        since_us, held_us = self._since_us(), self._recent.since_us
        if held_us == MIN_US or since_us - held_us > max(self._reach_us // 4, _SLACK_US):
            self._recent.forget_through(since_us)
            self._claims.forget_through(since_us)

    def refuse_changed_definitions(self) -> None:
        """Stop before a row is written by definitions that are not applied any more.

        Raises:
            ColumnsAddedError: The source has further columns, and nothing else changed.
            DefinitionsChangedError: Something else did.
        """
        number = self.project.registry.number()
        if number == self._registry_number:
            return
        now = self.project.applied().definitions
        source = now.sources[self.source.name]
        same_source = source_fingerprint(source) == source_fingerprint(self.source)
        same_views = True
        for view in self.all_views:
            there = now.views.get(view.name)
            same_views &= there is not None and view_fingerprint(there) == view_fingerprint(view)
        if same_views and widens(self.source, source):
            raise ColumnsAddedError(source, added_columns(self.source, source))
        if not (same_source and same_views):
            raise DefinitionsChangedError(self.source)
        self._registry_number = number
