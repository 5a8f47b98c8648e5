"""Where a source's stream comes from in an environment: Kafka, a folder that plays it, a table."""

from __future__ import annotations

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
        self._topic = stream.topic if isinstance(stream, Kafka) else source.name
        self._table: Path | None = None
        self._folder: Path | None = None
        if other is not None and (other / "_delta_log").is_dir():
            self._table = other
        elif isinstance(stream, DeltaTable) and other is None:
            self._table = (project.settings.project / stream.path).resolve()
        elif other is not None:
            self._folder = other
        elif not project.settings.stream_bootstrap:
            self._folder = project.places.topic(self._topic)

    def __str__(self) -> str:
        """Say where the rows come from."""
        if self._table is not None:
            return f"table {self._table}"
        return f"topic {self._topic}" if self._folder is None else f"folder {self._folder}"

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
        self._refuse_other_topic()
        starting = None
        if is_new:
            path = self._project.places.events(self._source.name)
            starting = events.next_offsets(spark, path, self._topic)
        servers = ",".join(self._project.settings.stream_bootstrap)
        options = {"kafka.bootstrap.servers": servers}
        return records.parsed(
            streams.read_topic(spark, self._topic, options, starting, self._limits)
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

    def _refuse_other_topic(self) -> None:
        """Refuse a topic that was made anew: its offsets begin at 0 once more, and mean others."""
        topic = self._topic
        identity = Topics(self._project.settings.stream_bootstrap).identity(topic)
        if self._noted("topic", identity) != identity:
            raise StateError(
                f"topic {topic} was made anew since source {self._source.name} was read last: "
                "records that were not read by then are lost",
                hint=f"remove {self._notes} to read the new topic from its beginning",
            )

    @property
    def _notes(self) -> Path:
        return self._project.places.stream(self._source.name)

    def _noted(self, name: str, now: str) -> str:
        """Give what was noted when the source was read first; that is what is so now at first."""
        file = self._notes / name
        if not file.exists():
            notes.write(file, now)
        return file.read_text()
