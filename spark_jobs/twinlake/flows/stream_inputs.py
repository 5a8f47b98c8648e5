"""Where a source's stream comes from in an environment: Kafka, a folder that plays it, a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from twinlake.definitions.sources import DeltaTable, Kafka, Source
from twinlake.errors import InputError, StateError
from twinlake.flows.kafka_topics import Topics
from twinlake.flows.project import Project
from twinlake.lake import events, streams, tables
from twinlake.lake.records import Records
from twinlake.registry import notes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


# How long servers may be away: when a stream begins, and while it runs.
_ANSWER_S, _PATIENCE_S = 15, 120


class Input:
    """The stream of a source, as rows of its schema.

    Args:
        project: The project.
        source: The source.
        limits: How much a batch takes in.

    Raises:
        InputError: The source has no stream.
    """

    def __init__(self, project: Project, source: Source, limits: streams.Limits) -> None:
        self._project = project
        self._source = source
        self._limits = limits
        other = project.source_path(source.name)
        stream = source.stream
        if stream is None:
            raise InputError(
                f"source {source.name} has no stream",
                hint='give it stream=Kafka("topic") or stream=DeltaTable("path")',
            )
        self.topic = stream.topic if isinstance(stream, Kafka) else source.name
        self._table: Path | None = None
        self._folder: Path | None = None
        self._is_open = False
        if other is not None and (other / "_delta_log").is_dir():
            self._table = other
        elif isinstance(stream, DeltaTable) and other is None:
            self._table = (project.settings.project / stream.path).resolve()
        elif other is not None:
            self._folder = other
        elif not project.settings.stream_bootstrap:
            self._folder = project.places.topic(self.topic)

    def __str__(self) -> str:
        """Say where the rows come from."""
        if self._table is not None:
            return f"table {self._table}"
        return f"topic {self.topic}" if self._folder is None else f"folder {self._folder}"

    def open(self, *, is_new: bool) -> DataFrame:
        """Open the stream: rows of the source's schema, each with its place.

        Args:
            is_new: It has no checkpoint. What events tell of the topic's offsets is gone on from.

        Raises:
            StateError: The table is not there, or the source was read from somewhere else before.
            InputError: The schema of its records is not there.
        """
        spark = self._project.spark
        self._refuse_other_input()
        if self._table is not None:
            if not tables.exists(self._table):
                raise StateError(f"there is no Delta table at {self._table}")
            appended = streams.read_table(spark, self._table, self._limits)
            return streams.typed_rows(appended, self._source, str(self._table))
        records = Records.of(spark, self._source, self._project.settings.project)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return records.from_folder(spark, self._folder, self._limits)
        was_read = (self._notes / "topic").exists()
        if not was_read:  # what was landed by now may be of another topic of this name
            landed = self._project.landings(self._source.name).newest_version()
            notes.write(self._notes / "since", str(landed))
        self.refuse_other_topic()
        self._is_open = True
        starting = self._where_events_end() if is_new and was_read else None
        servers = ",".join(self._project.settings.stream_bootstrap)
        options = {"kafka.bootstrap.servers": servers}
        return records.parsed(
            streams.read_topic(spark, self.topic, options, starting, self._limits)
        )

    def _refuse_other_input(self) -> None:
        """Refuse to go on in another place: how far it was read says nothing there."""
        now = str(self)
        before = self._noted("input", now)
        if before != now:
            raise StateError(
                f"source {self._source.name} was read from {before}, and now from {now}",
                hint=f"remove {self._notes} to read the new one from its beginning; rows that "
                "were landed are duplicates there",
            )

    def refuse_other_topic(self) -> None:
        """Refuse a topic that was made anew: its offsets begin at 0 once more, and mean others.

        Raises:
            StateError: It was.
        """
        if not self.is_topic:
            return
        topic = self.topic
        # A stream that runs waits for its servers, as Spark does; one that begins says so.
        identity = self._topics.identity(topic, _PATIENCE_S if self._is_open else _ANSWER_S)
        if self._noted("topic", identity) != identity:
            raise StateError(
                f"topic {topic} was made anew since source {self._source.name} was read last: "
                "records that were not read by then are lost",
                hint=f"remove {self._notes} to read the new topic from its beginning",
            )

    def refuse_expired(self, positions: Mapping[int, int]) -> None:
        """Refuse to leave out what Kafka deleted before it was read.

        Args:
            positions: Per partition the offset to go on from.

        Raises:
            StateError: Records from there on are gone.
        """
        if not self.is_topic or not positions:
            return
        firsts = self._topics.first_offsets(self.topic, positions)
        gone = [
            f"{begin} to {firsts[partition] - 1} of partition {partition}"
            for partition, begin in sorted(positions.items())
            if firsts[partition] > begin
        ]
        if gone:
            raise StateError(
                f"topic {self.topic} does not hold offsets {', '.join(gone)} any more: they were "
                f"deleted before source {self._source.name} read them",
                hint=f"have them sent again, or remove {self._notes} to go on without them: the "
                "topic is read from its oldest record, and rows that were landed are duplicates",
            )

    def _where_events_end(self) -> dict[int, int] | None:
        """Give per partition the offset after the last one landed; None for nothing landed."""
        path = self._project.places.events(self._source.name)
        since = int(self._noted("since", "0"))
        landed = events.next_offsets(self._project.spark, path, self.topic, since)
        if landed is None:
            return None
        self.refuse_expired(landed)
        # Spark wants each partition named; of some nothing was landed yet.
        return dict.fromkeys(self._topics.partitions(self.topic), streams.EARLIEST) | landed

    @cached_property
    def _topics(self) -> Topics:
        return Topics(self._project.settings.stream_bootstrap)

    @property
    def is_topic(self) -> bool:
        """Whether the rows come from Kafka."""
        return self._table is None and self._folder is None

    @property
    def hint(self) -> str:
        """Tell what to do where how far it was read is lost."""
        then = "goes on where the events end"
        if not self.is_topic:
            then = f"reads {self} from its beginning, and rows that were landed are duplicates"
        return f"remove {self._notes / 'checkpoint'} and start again: the stream {then}"

    @property
    def _notes(self) -> Path:
        return self._project.places.stream(self._source.name)

    def _noted(self, name: str, now: str) -> str:
        """Give what was noted when the source was read first; that is what is so now at first."""
        file = self._notes / name
        if not file.exists():
            notes.write(file, now)
        return file.read_text()
