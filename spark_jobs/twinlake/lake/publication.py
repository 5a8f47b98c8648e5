"""Online rows: every touched key's newest row and state, folded from the events table.

A row is a pure function of the view, the events table and an ingest version. It is never made from
a bare batch, so it does not matter by which path or in which order events arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.crash_points import reached
from twinlake.definitions.resolution import needed_columns, stored_features, view_features
from twinlake.definitions.times import to_datetime
from twinlake.definitions.views import FeatureView
from twinlake.kernel.events import NEVER_US
from twinlake.kernel.folded_keys import folded_keys
from twinlake.kernel.state import Provenance
from twinlake.kernel.views import ViewShape
from twinlake.lake import arrays, events, tables
from twinlake.lake.feature_rows import PREFIX
from twinlake.lake.vectors import vectors

# Named as in the stores, as no feature is: one may be called ``state``.
STATE = "tl_state"
_SYSTEM = ("tl_event_us", "tl_known_us", "tl_valid_until_us", STATE)


@dataclass(frozen=True)
class Folding:
    """What to fold, and as what.

    Attributes:
        after_version: Only keys with events after this ingest version; 0 for all keys.
        version: Fold events up to this ingest version.
        version_us: When that version was committed.
        fingerprint: The view's meaning, 16 bytes.
        table_id: The events table's identifier, 16 bytes.
    """

    after_version: int
    version: int
    version_us: int
    fingerprint: bytes
    table_id: bytes


def online_rows(
    spark: SparkSession,
    path: Path,
    view: FeatureView,
    folding: Folding,
    parts: int,
    touched: DataFrame | None = None,
) -> DataFrame:
    """Fold the events of touched keys into one row per key.

    Args:
        spark: The session.
        path: The events table.
        view: The view.
        folding: What to fold, and as what.
        parts: Into how many parts to cut the keys.
        touched: The keys; without them, those with events after ``folding.after_version``.

    Returns:
        Join keys, features (timestamps as microseconds), ``tl_event_us``, ``tl_known_us``,
        ``tl_valid_until_us`` and ``tl_state``.
    """
    shape = ViewShape.of(view)
    keys = list(shape.keys)
    frame = events.accepted(spark, path, view.source, folding.version)
    for key in keys:
        frame = frame.where(F.col(key).isNotNull())
    if touched is None and folding.after_version:
        touched = frame.where(F.col("_version") > folding.after_version).select(*keys).distinct()
    if touched is not None:
        frame = frame.join(touched, keys, "left_semi")
    narrow = frame.select(*keys, *folded_columns(view))

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        reached("worker.online_rows")
        return fold_part(batches, shape, folding)

    return narrow.repartition(parts, *keys).mapInArrow(of_part, _schema(view))


def folded_columns(view: FeatureView) -> list[Column]:
    """Give what ``fold_keys`` takes of an event beside its key."""
    return [
        F.unix_micros("_event_timestamp").alias("event_us"),
        F.unix_micros("_known_timestamp").alias("known_us"),
        F.col("_hash_a").alias("hash_a"),
        F.col("_hash_b").alias("hash_b"),
        *(F.col(tables.quoted(name)).alias(PREFIX + name) for name in needed_columns(view)),
    ]


def _schema(view: FeatureView) -> str:
    columns = [f"{tables.quoted(name)} {kind}" for name, kind in view.entity.join_keys.items()]
    columns += [f"{tables.quoted(f.name)} {_wire_type(f.type)}" for f in view_features(view)]
    columns += [f"{name} bigint" for name in _SYSTEM[:3]]
    return ", ".join([*columns, f"{STATE} binary"])


def _wire_type(type_name: str) -> str:
    # Spark hands timestamps to Python in the machine's zone; as integers they stay what they are.
    return "bigint" if type_name == "timestamp" else type_name


def fold_part(
    batches: Iterable[pa.RecordBatch], shape: ViewShape, folding: Folding
) -> Iterator[pa.RecordBatch]:
    """Fold the events of the keys of a part into one row per key."""
    table = arrays.gather(batches)
    if table is None:
        return
    codes, count = arrays.key_codes(table, shape.keys)
    provenance = Provenance(folding.fingerprint, folding.table_id, folding.version)
    folded = fold_keys(table, codes, count, shape, provenance, folding.version_us)
    # Few rows at a time: states weigh kilobytes each.
    yield from folded.to_batches(max_chunksize=2_000)


def fold_keys(
    table: pa.Table,
    codes: arrays.IntArray,
    count: int,
    shape: ViewShape,
    provenance: Provenance,
    version_us: int | arrays.IntArray,
) -> pa.Table:
    """Fold events into one row per key, in the order of the keys' codes.

    Args:
        table: The events: keys and ``folded_columns``.
        codes: The code of each event's key.
        count: How many codes there are; each has an event.
        shape: What the view computes.
        provenance: What the rows are a function of beside their events.
        version_us: When the version was committed; one for all keys, or one per key.
    """
    held = {name: PREFIX + name for name in shape.columns}
    happened, table = arrays.sorted_events(table, codes, count, held)
    folded = folded_keys(happened, shape, provenance, version_us)
    found = vectors(happened, table, folded.moments, shape, PREFIX)
    first = pa.array(folded.first_row)
    out = [arrays.chunk(table, name).take(first) for name in shape.keys]
    for feature, column in zip(shape.features, found.columns, strict=True):
        out.append(column.cast(pa.int64()) if feature.type == "timestamp" else column)
    out += [pa.array(folded.moments.as_of_us), pa.array(folded.known_us)]
    out.append(pa.array(folded.until_us, mask=folded.until_us == NEVER_US))
    out.append(pa.array(folded.states, pa.binary()))
    names = [*shape.keys, *(feature.name for feature in shape.features), *_SYSTEM]
    return pa.Table.from_arrays(out, names)


@dataclass(frozen=True, slots=True)
class FoldedRow:
    """One key's row as it arrives at the driver."""

    key: tuple[Any, ...]
    values: tuple[Any, ...]
    event_us: int
    known_us: int
    valid_until_us: int | None
    state: bytes


def rows_at_driver(frame: DataFrame, view: FeatureView) -> Iterator[FoldedRow]:
    """Bring rows to the driver part by part, never all at once."""
    keys = tuple(view.entity.join_keys)
    features = stored_features(view)
    instants = {feature.name for feature in features if feature.type == "timestamp"}
    for row in frame.toLocalIterator(prefetchPartitions=True):
        values = tuple(_value(row, feature.name, instants) for feature in features)
        yield FoldedRow(
            tuple(row[name] for name in keys),
            values,
            row.tl_event_us,
            row.tl_known_us,
            row.tl_valid_until_us,
            bytes(row.tl_state),
        )


def rows_in(batches: Iterable[pa.RecordBatch], view: FeatureView) -> Iterator[FoldedRow]:
    """Take rows out of what ``fold_part`` gave, at the driver."""
    keys = tuple(view.entity.join_keys)
    features = stored_features(view)
    for batch in batches:
        parts = zip(*(batch.column(name).to_pylist() for name in keys), strict=True)
        cells = [batch.column(feature.name).to_pylist() for feature in features]
        for position, feature in enumerate(features):
            if feature.type == "timestamp":
                cells[position] = [None if v is None else to_datetime(v) for v in cells[position]]
        values = zip(*cells, strict=True)
        system = zip(*(batch.column(name).to_pylist() for name in _SYSTEM), strict=True)
        for key, row, rest in zip(parts, values, system, strict=True):
            yield FoldedRow(key, row, *rest)


def _value(row: Row, name: str, instants: set[str]) -> Any:  # noqa: ANN401 (a cell of any type)
    value = row[name]
    return to_datetime(value) if name in instants and value is not None else value
