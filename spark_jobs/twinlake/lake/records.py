"""How the records of a source's topic are read: JSON, or Avro by a schema in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from twinlake.definitions.sources import Kafka, Source
from twinlake.lake import avro, streams
from twinlake.lake.avro import AvroSchema


@dataclass(frozen=True)
class Records:
    """The records of a source.

    Attributes:
        source: The source.
        kafka: How they are read.
        schema: What they are written by, where they are Avro.
    """

    source: Source
    kafka: Kafka
    schema: AvroSchema | None

    @classmethod
    def of(cls, spark: SparkSession, source: Source, folder: Path) -> Records:
        """Say how a source's records are read; also where it has no topic.

        Args:
            spark: The session.
            source: The source.
            folder: What the path of a schema is relative to.

        Raises:
            InputError: There is no such schema, or it lacks columns of the source.
        """
        kafka = source.stream if isinstance(source.stream, Kafka) else Kafka(source.name)
        schema = None
        if kafka.avro is not None:
            schema = avro.read_schema(spark, folder / kafka.avro, source)
        return cls(source, kafka, schema)

    def parsed(self, frame: DataFrame, kept: Sequence[str] = ()) -> DataFrame:
        """Parse records of a topic; see ``streams.parsed``."""
        if self.schema is not None:
            return avro.parsed(frame, self.source, self.kafka, self.schema, kept)
        return self.parsed_as_json(frame, kept)

    def parsed_as_json(self, frame: DataFrame, kept: Sequence[str] = ()) -> DataFrame:
        """Parse what was written down as JSON."""
        kafka = self.kafka
        return streams.parsed(frame, self.source, kafka.times_in, kafka.max_record_bytes, kept)

    def from_folder(self, spark: SparkSession, folder: Path, limits: streams.Limits) -> DataFrame:
        """Read a folder that plays the topic as a stream of rows, parsed."""
        if self.schema is not None:
            return avro.read_folder(spark, folder, self.source, self.kafka, self.schema, limits)
        return self.parsed(streams.read_folder(spark, folder, limits))
