"""Sources: rows with an event timestamp, readable in batch and, where there is one, as a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twinlake.definitions.expectations import Expectation

KNOWN_AT_EVENT = "event"
KNOWN_AT_ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Files:
    """Rows in files.

    Attributes:
        path: A file or a folder, relative to the project unless absolute.
        format: ``parquet`` or ``csv`` (with a header line). Files that another path is given for
            may have the other format.
        also_named: Column to the name that it may have in a file instead: a file that has no column
            of its own name is read by this one. No part of the meaning.
        may_lack: Columns that files from before the column was added do not have; their rows hold
            nothing there. A file without a column that is not listed is refused.
    """

    path: str
    format: str = "parquet"
    also_named: Mapping[str, str] = field(default_factory=dict)
    may_lack: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Kafka:
    """A topic whose records are JSON objects, or records of Avro, with the source's columns.

    In an environment without Kafka a topic is a folder of files: one JSON object per line, or
    Avro's own container files.

    Attributes:
        topic: The topic's name.
        times_in: The unit of timestamps that are numbers since the epoch: ``s``, ``ms`` or ``us``,
            fractions allowed. Without it a number is no timestamp.
        max_record_bytes: A longer record is quarantined unread.
        avro: The file of the Avro schema that records are written by, relative to the project
            unless absolute. Without it records are JSON.
        skip_bytes: Bytes before each record that are no part of it: 5 where a schema registry's
            client writes.
    """

    topic: str
    times_in: str | None = None
    max_record_bytes: int = 1_048_576
    avro: str | None = None
    skip_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeltaTable:
    """A Delta table to which somebody appends rows of the source.

    Attributes:
        path: The table's folder, relative to the project unless absolute.
    """

    path: str


@dataclass(frozen=True, slots=True)
class Derived:
    """A column computed from others of the same row.

    Attributes:
        type: The type that the expression's value is cast to.
        sql: A Spark SQL expression over the source's columns.
    """

    type: str
    sql: str


@dataclass(frozen=True)
class Source:
    """Rows with an event timestamp, and what is known of them.

    Attributes:
        name: The source's name; its events table carries it.
        schema: ``"tid string, amount decimal(12,2)"``: the columns as they arrive.
        event_timestamp: The column that says when it happened. A row that stands for a period has
            its event timestamp at the period's end.
        event_id: The column or columns that identify a row. Without it the whole row does.
        known: When a row became known: ``"event"`` (when it happened), ``"arrival"`` (when a
            stream first landed it) or the name of a created-timestamp column.
        batch: Where the rows lie.
        stream: Where they arrive, if they do.
        with_columns: Columns derived before the gate, by name.
        where: Spark SQL condition; accepted rows that do not fulfil it stay in the events table
            but take no part in any feature.
        expectations: What must hold, in Great Expectations' words. A row that breaks one on single
            rows is quarantined; a batch that breaks one on batches does not land.
        max_ahead: A row whose event timestamp lies further ahead of its landing is quarantined.
        description: For people; no part of the meaning.
    """

    name: str
    schema: str
    event_timestamp: str
    event_id: str | Sequence[str] | None = None
    known: str = KNOWN_AT_EVENT
    batch: Files | None = None
    stream: Kafka | DeltaTable | None = None
    with_columns: Mapping[str, Derived] = field(default_factory=dict)
    where: str | None = None
    expectations: Sequence[Expectation] = ()
    max_ahead: str = "1d"
    description: str = ""

    @property
    def event_id_columns(self) -> tuple[str, ...]:
        """The identity columns; empty when the whole row is the identity."""
        if self.event_id is None:
            return ()
        return (self.event_id,) if isinstance(self.event_id, str) else tuple(self.event_id)

    @property
    def row_expectations(self) -> tuple[Expectation, ...]:
        """Those that single rows must fulfil."""
        return tuple(item for item in self.expectations if item.is_row_level)

    @property
    def batch_expectations(self) -> tuple[Expectation, ...]:
        """Those that a batch must fulfil as a whole."""
        return tuple(item for item in self.expectations if not item.is_row_level)
