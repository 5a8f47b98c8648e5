"""The stream of a source: each batch is landed by one commit, then its views are published.

The order of a batch: judge it, settle its identities, commit it to the events table, write that
down; then per view: fold the touched keys online, append their feature rows, write that down. All
of it may be repeated: Delta knows a commit that it has by its number, an online row is only
replaced by one that reflects more, and a batch that was landed is never judged again. What a killed
stream left is finished before a new one reads on, and by the same code that batch jobs use.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinlake.crash_points import reached
from twinlake.definitions.fingerprints import source_fingerprint, view_fingerprint
from twinlake.definitions.resolution import longest_window_us
from twinlake.definitions.sources import Source
from twinlake.definitions.times import MAX_US, MIN_US
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError, StateError
from twinlake.flows.landing import recover, stream_landing
from twinlake.flows.project import Project
from twinlake.flows.publishing import catch_up
from twinlake.flows.stream_inputs import Input
from twinlake.flows.stream_publishing import NewEvents, StreamPublisher
from twinlake.lake import stream_batches, streams, tables
from twinlake.lake.claims import ClaimIndex
from twinlake.lake.recent import RecentEvents
from twinlake.registry.state import Landing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Beyond what windows reach this much is held, so that events may be late by it at no cost.
_SLACK_US = 3_600_000_000
_EVERYTHING = (MIN_US, MAX_US)
# How often the end of a stream is looked for.
_LOOK_S = 0.2


@dataclass
class Progress:
    """What a stream did so far.

    Attributes:
        batches: Batches that held rows.
        read, accepted, duplicate, quarantined: Rows by verdict.
        feature_rows, online_rows: By view.
        slow_batches: Publications that were computed from the lake.
    """

    batches: int = 0
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    feature_rows: dict[str, int] = field(default_factory=dict)
    online_rows: dict[str, int] = field(default_factory=dict)
    slow_batches: int = 0


class SourceStream:
    """The lander of a source, and the publisher of some of its views, for as long as it runs.

    Args:
        project: The project.
        source: The source.
        views: The views to publish.
        limits: How much a batch takes in.
        after_batch: Is told after each batch.
    """

    def __init__(
        self,
        project: Project,
        source: Source,
        views: Sequence[FeatureView],
        limits: streams.Limits,
        after_batch: Callable[[Progress], None],
    ) -> None:
        self.project = project
        self.source = source
        self.views = list(views)
        self.progress = Progress()
        self._feed = Input(project, source, limits)
        self._after_batch = after_batch
        self._path = project.places.events(source.name)
        # All views on the source: a row without their keys is of no use, whoever publishes them.
        applied = project.applied()
        self._registry_number = applied.number
        self._all_views = [
            view for view in applied.definitions.views.values() if view.source.name == source.name
        ]
        self._mutex = threading.Lock()
        self._stopping = False
        self._failure: Exception | None = None
        self._query: Any = None
        self._locks = ExitStack()

    def start(self, *, once: bool) -> None:
        """Finish what was left, read what is needed, and begin.

        Args:
            once: Read what is there and end.

        Raises:
            StateError: Another process lands the source or publishes one of the views.
        """
        places = self.project.places
        self._locks.enter_context(places.exclusively("lander", self.source.name))
        for view in self.views:
            self._locks.enter_context(places.exclusively("publisher", view.name))
        recover(self.project, self.source)
        for view in self.views:
            catch_up(self.project, view, _EVERYTHING)
        self._load()
        checkpoint = places.stream(self.source.name) / "checkpoint"
        is_new = not (checkpoint / "offsets").is_dir()
        self._name = _stream_name(checkpoint.parent, is_new=is_new)
        self._landed_through = self._newest_batch()
        frame = self._feed.open(is_new=is_new)
        writer = frame.writeStream.foreachBatch(self._on_batch).option(
            "checkpointLocation", str(checkpoint)
        )
        if once:
            writer = writer.trigger(availableNow=True)
        self._query = writer.start()

    def _load(self) -> None:
        """Read the claims and events that batches in time need."""
        spark = self.project.spark
        landings = self.project.landings(self.source.name)
        done = landings.all()
        self._version = max(
            max((one.version for one in done), default=0),
            tables.last_commit(spark, self._path).version,
        )
        self._clock_us = landings.newest_event_us()
        self._reach_us = max((_reach_us(view) for view in self._all_views), default=0)
        since_us = self._since_us()
        self._claims: ClaimIndex = stream_batches.load_claims(
            spark, self._path, self.source, since_us
        )
        self._recent: RecentEvents = stream_batches.load_recent(
            spark, self._path, self.source, self._all_views, since_us
        )
        self._publishers = [StreamPublisher(self.project, view) for view in self.views]

    def _since_us(self) -> int:
        if self._clock_us is None:
            return MIN_US
        return self._clock_us - self._reach_us - max(self._reach_us // 4, _SLACK_US)

    def _newest_batch(self) -> int:
        """Tell which batch of this stream was landed last; -1 for none."""
        done = self.project.landings(self.source.name).all()
        of_this = [one.query_batch for one in done if one.query == self._name]
        return max((batch for batch in of_this if batch is not None), default=-1)

    def _on_batch(self, frame: DataFrame, number: int) -> None:
        try:
            with self._mutex:
                if self._stopping:
                    raise StateError("the stream is being stopped")
                self._take(frame, number)
        except Exception as error:
            self._failure = self._failure or error
            raise

    def _take(self, frame: DataFrame, number: int) -> None:
        self._refuse_changed_definitions()
        if number <= self._landed_through:
            return  # landed before a restart, and published when this stream began
        reached("streaming.begun")
        rows = self._feed.rows(frame)
        batch = stream_batches.judged(rows, self.source, self._all_views, self.project.now_us())
        if not batch.num_rows:
            return
        spark = self.project.spark
        batch = stream_batches.settled(spark, self._path, self.source, batch, self._claims)
        reached("streaming.judged")
        landing, new = self._land(batch, {"query": self._name, "query_batch": number})
        reached("streaming.written_down")
        self._landed_through = number
        self._publish(landing, new)
        reached("streaming.published")
        self._after_batch(self.progress)

    def _land(self, batch: pa.Table, origin: dict[str, Any]) -> tuple[Landing, pa.Table]:
        version = self._version + 1
        named = f"{self._name[:8]}-{origin['query_batch']}"
        batch = stream_batches.numbered(batch, version, named)
        counts = stream_batches.counts(batch)
        metadata = {
            "batch": named,
            "ingest_version": version,
            "counts": {name: getattr(counts, name) for name in counts.__slots__},
            **origin,
        }
        stream_batches.append(
            self.project.spark,
            self._path,
            self.source,
            batch,
            version=version,
            metadata=metadata,
            scratch=self.project.places.new_scratch(),
        )
        reached("streaming.committed")
        commit = tables.commit_in_session(self.project.spark, self._path)
        if commit.metadata != metadata:
            raise StateError(
                f"batch {named} of {self.source.name} was not committed: another process wrote "
                f"version {version}",
                hint="start the stream again; it goes on where that one ended",
            )
        landing = stream_landing(metadata, commit.time_us)
        self._version = max(version, commit.version)
        self.project.landings(self.source.name).go_on(landing)
        self._count(landing)
        return landing, stream_batches.taking_part(batch, self._all_views)

    def _count(self, landing: Landing) -> None:
        told = self.progress
        told.batches += 1
        told.read += landing.read
        told.accepted += landing.accepted
        told.duplicate += landing.duplicate
        told.quarantined += landing.quarantined
        if landing.data_clock_us is not None:
            self._clock_us = max(landing.data_clock_us, self._clock_us or landing.data_clock_us)

    def _publish(self, landing: Landing, happened: pa.Table) -> None:
        self._recent.add(happened)
        new = NewEvents(landing.version, landing.landed_us or 0, happened)
        for publisher in self._publishers:
            done = publisher.publish(new, self._recent)
            name = publisher.view.name
            told = self.progress
            told.feature_rows[name] = told.feature_rows.get(name, 0) + done.feature_rows
            told.online_rows[name] = told.online_rows.get(name, 0) + done.online_rows
            told.slow_batches += done.is_slow
        self._let_go()

    def _let_go(self) -> None:
        """Let go of what no batch in time needs, now and then."""
        since_us, held_us = self._since_us(), self._recent.since_us
        if held_us == MIN_US or since_us - held_us > max(self._reach_us // 4, _SLACK_US):
            self._recent.forget_through(since_us)
            self._claims.forget_through(since_us)

    def _refuse_changed_definitions(self) -> None:
        """Stop before a row is written by definitions that are not applied any more."""
        number = self.project.registry.number()
        if number == self._registry_number:
            return
        now = self.project.applied().definitions
        same = source_fingerprint(now.sources[self.source.name]) == source_fingerprint(self.source)
        for view in self._all_views:
            there = now.views.get(view.name)
            same &= there is not None and view_fingerprint(there) == view_fingerprint(view)
        if not same:
            raise StateError(
                f"the definitions of {self.source.name} or its views changed while it streamed",
                hint="start the stream again: it goes on where it ended, by the new definitions",
            )
        self._registry_number = number

    def wait(self, seconds: float) -> bool:
        """Wait until the stream ended, for a bounded time; tell whether it has.

        Raises:
            TwinlakeError: What ended it.
        """
        try:
            ended: bool = self._query.awaitTermination(seconds)
        except Exception as error:
            if self._failure is not None:
                raise self._failure from error
            raise
        return ended

    def stop(self) -> None:
        """End the stream after the batch at hand; nothing is left half done."""
        with self._mutex:
            self._stopping = True
        if self._query is not None:
            self._query.stop()
        self._locks.close()


def _reach_us(view: FeatureView) -> int:
    return longest_window_us(view) + (view.hop_us or 0)


def _stream_name(folder: Path, *, is_new: bool) -> str:
    """Give a stream its name, kept beside its checkpoint: another checkpoint is another stream."""
    file = folder / "name"
    if is_new or not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(uuid.uuid4().hex)
        part.replace(file)
    return str(file.read_text())


def stream(
    project: Project,
    names: Sequence[str] = (),
    *,
    once: bool = False,
    limits: streams.Limits | None = None,
    stopped: threading.Event | None = None,
    after_batch: Callable[[str, Progress], None] | None = None,
) -> dict[str, Progress]:
    """Stream views until told to stop, or until all that is there was taken.

    Args:
        project: The project.
        names: Which views; by default those that are published by stream.
        once: Take what is there and end.
        limits: How much a batch takes in.
        stopped: Set it to end after the batches at hand.
        after_batch: Is told after each batch, by the name of its source.

    Returns:
        What was done, by source.

    Raises:
        InputError: There is no such view, or none is published by stream.
        StateError: Another process lands a source or publishes a view.
    """
    views = _chosen(project, names)
    sources = {view.source.name: view.source for view in views}
    told = after_batch or (lambda _name, _progress: None)
    running = []
    for name, source in sources.items():
        of_source = [view for view in views if view.source.name == name]
        running.append(
            SourceStream(
                project, source, of_source, limits or streams.Limits(), partial(told, name)
            )
        )
    try:
        for one in running:
            one.start(once=once)
        left = list(running)
        while left and not (stopped is not None and stopped.is_set()):
            left = [one for one in left if not one.wait(_LOOK_S)]
    finally:
        for one in running:
            one.stop()
    return {one.source.name: one.progress for one in running}


def _chosen(project: Project, names: Sequence[str]) -> list[FeatureView]:
    applied = project.applied().definitions.views
    chosen = [project.view(name) for name in names]
    if not names:
        chosen = [view for view in applied.values() if view.publish == "stream"]
    if not chosen:
        raise InputError(
            "no view is published by stream", hint='name views, or define them publish="stream"'
        )
    return chosen
