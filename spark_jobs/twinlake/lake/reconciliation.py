"""Compare online rows with the fold of their events, part by part in Spark's workers.

What is repaired must come out as publication would write it, so the rows are folded by
publication's own code; parity is where independent code looks.

A row is compared with its events up to the ingest version that it reflects. What was landed since
is no difference unless it was published: a stream that runs is always a little ahead of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import stored_features
from twinlake.definitions.views import FeatureView
from twinlake.kernel.state import Provenance
from twinlake.kernel.views import ViewShape
from twinlake.lake import arrays, events, publication, tables
from twinlake.lake.arrow_types import arrow_type
from twinlake.lake.publication import STATE

Flags = npt.NDArray[np.bool_]
# What may be wrong with a key: it has no row, another row, or a row without any event.
MISSING, DIFFERENT, UNKNOWN = "missing", "different", "unknown"
KINDS = (MISSING, DIFFERENT, UNKNOWN)
# Columns of twinlake's own begin like this, and nobody else's do.
VERSION, WRITE_US, UNFIT, VALUE = "tl_version", "tl_write_us", "tl_unfit", "tl_value_"
# What is stored beside features.
_SYSTEM = ("tl_event_us", "tl_known_us", "tl_valid_until_us", STATE)
_STORED, _KIND, _WHAT = "tl_is_stored", "tl_kind", "tl_what"
_HASH_BYTES = 16
# A key weighs about as much as this many events: its row is stored, folded and compared.
_EVENTS_PER_KEY = 20


@dataclass(frozen=True)
class Expected:
    """What is known of the rows that should be there.

    Attributes:
        published: Events up to this ingest version were published.
        newest: No row reflects a later ingest version.
        newest_us: No row was written at a later time: when that version was committed.
        fingerprint: The view's meaning, 16 bytes.
        table_id: The events table's identifier, 16 bytes.
    """

    published: int
    newest: int
    newest_us: int
    fingerprint: bytes
    table_id: bytes


@dataclass(frozen=True, slots=True)
class Different:
    """One key that differs: which, how (one of ``KINDS``), and in what."""

    key: tuple[Any, ...]
    kind: str
    what: str


def state_hash(state: bytes) -> bytes:
    """Hash a row's state: rows are compared without carrying it about."""
    return hashlib.blake2b(state, digest_size=_HASH_BYTES).digest()


def stored_schema(view: FeatureView) -> pa.Schema:
    """Give the columns of a file of online rows: what ``differing`` reads.

    Join keys, the row's times, ``STATE`` as its hash, ``VERSION`` as what the state says that it
    reflects, null where it cannot be read, and ``VALUE`` with each feature's name, instants as
    microseconds. ``UNFIT`` names features whose values are not of their types, and are null here.
    """
    fields = [(name, arrow_type(kind)) for name, kind in view.entity.join_keys.items()]
    fields += [(name, pa.int64()) for name in (*_SYSTEM, WRITE_US, VERSION) if name != STATE]
    fields += [(STATE, pa.binary()), (UNFIT, pa.string())]
    for feature in stored_features(view):
        kind = pa.int64() if feature.type == "timestamp" else arrow_type(feature.type)
        fields.append((VALUE + feature.name, kind))
    return pa.schema(fields)


def weight(keys: int, accepted: int) -> int:
    """Tell as how many events a comparison of some keys and events weighs."""
    return accepted + _EVENTS_PER_KEY * keys


def differing(
    spark: SparkSession,
    path: Path,
    view: FeatureView,
    stored_file: Path,
    expected: Expected,
    parts: int,
) -> DataFrame:
    """Find the keys whose online row is not what their events come to.

    Args:
        spark: The session.
        path: The events table, as it is now: no older than the rows.
        view: The view.
        stored_file: A Parquet file of all online rows, see ``stored_schema``.
        expected: What is known of them.
        parts: Into how many parts to cut the keys.

    Returns:
        Join keys, how each differs (one of ``KINDS``) and in what.
    """
    shape = ViewShape.of(view)
    keys = list(shape.keys)
    happened = _with_keys(events.accepted(spark, path, view.source), keys).select(
        F.lit(False).alias(_STORED),
        *keys,
        F.col("_version").alias("version"),
        *publication.folded_columns(view),
    )
    stored = spark.read.parquet(str(stored_file)).withColumn(_STORED, F.lit(True))
    both = happened.unionByName(stored, allowMissingColumns=True)

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return compare_part(batches, shape, expected)

    named = [f"{tables.quoted(name)} {kind}" for name, kind in view.entity.join_keys.items()]
    schema = ", ".join([*named, f"{_KIND} string", f"{_WHAT} string"])
    return both.repartition(parts, *keys).mapInArrow(of_part, schema)


def _with_keys(frame: DataFrame, keys: list[str]) -> DataFrame:
    for key in keys:
        frame = frame.where(F.col(tables.quoted(key)).isNotNull())
    return frame


def write(frame: DataFrame, folder: Path) -> None:
    """Keep what ``differing`` found; it may be every key that there is."""
    frame.write.parquet(str(folder))


def kept(spark: SparkSession, folder: Path) -> DataFrame:
    """Read what ``write`` kept."""
    return spark.read.parquet(str(folder))


def counted(frame: DataFrame) -> dict[str, int]:
    """Count differing keys by kind."""
    return {row[_KIND]: row["count"] for row in frame.groupBy(_KIND).count().collect()}


def first_of(frame: DataFrame, view: FeatureView, most: int) -> list[Different]:
    """Give a few differing keys, by key."""
    keys = list(view.entity.join_keys)
    rows = frame.orderBy(_KIND, *keys).limit(most).collect()
    return [Different(tuple(row[name] for name in keys), row[_KIND], row[_WHAT]) for row in rows]


def keys_without_events(
    spark: SparkSession, path: Path, view: FeatureView, keys: DataFrame, version: int
) -> Iterator[tuple[Any, ...]]:
    """Give those of some keys that have no event up to an ingest version."""
    names = list(view.entity.join_keys)
    happened = events.accepted(spark, path, view.source, version).select(*names)
    for row in keys.select(*names).join(happened, names, "left_anti").toLocalIterator():
        yield tuple(row)


def compare_part(
    batches: Iterable[pa.RecordBatch], shape: ViewShape, expected: Expected
) -> Iterator[pa.RecordBatch]:
    """Compare the rows of the keys of a part with all their events; give the keys that differ."""
    table = arrays.gather(batches)
    if table is None:
        return
    codes, count = arrays.key_codes(table, shape.keys)
    part = _Part(table, codes, count)
    told = part.differences(shape, expected)
    is_there = part.place >= 0
    is_due = part.any_event(part.version <= expected.published)
    is_known = part.any_event(np.ones(len(part.version), np.bool_))
    kinds = {
        MISSING: is_due & ~is_there,
        UNKNOWN: is_there & ~is_known,
        DIFFERENT: is_there & is_known & np.logical_or.reduce(list(told.values())),
    }
    _, first = np.unique(codes, return_index=True)
    for kind, flags in kinds.items():
        chosen = np.flatnonzero(flags)
        if not chosen.size:
            continue
        whats = [_what(told, code) for code in chosen] if kind == DIFFERENT else [""] * chosen.size
        rows = pa.array(first[chosen])
        columns = [arrays.chunk(table, name).take(rows) for name in shape.keys]
        columns += [pa.array([kind] * chosen.size), pa.array(whats)]
        yield pa.RecordBatch.from_arrays(columns, [*shape.keys, _KIND, _WHAT])


def _what(told: dict[str, Flags], code: np.intp) -> str:
    return ", ".join(name for name, flags in told.items() if flags[code])


class _Part:
    """The events and the online rows of the keys of a part."""

    def __init__(self, table: pa.Table, codes: arrays.IntArray, count: int) -> None:
        is_stored = arrays.chunk(table, _STORED).to_numpy(zero_copy_only=False)
        self.count = count
        self.stored = table.filter(pa.array(is_stored)).combine_chunks()
        self.happened = table.filter(pa.array(~is_stored)).combine_chunks()
        self.codes = codes[~is_stored]
        self.version = arrays.integers(self.happened, "version")
        # Where each key's row stands, and what it reflects; -1 without one.
        self.place = np.full(count, -1, np.int64)
        self.place[codes[is_stored]] = np.arange(self.stored.num_rows)
        self.reflected = self._of_rows(pc.fill_null(self.stored.column(VERSION), -1))

    def _of_rows(self, column: pa.ChunkedArray) -> arrays.IntArray:
        found = np.full(self.count, -1, np.int64)
        there = self.place >= 0
        found[there] = column.to_numpy()[self.place[there]]
        return found

    def any_event(self, flags: Flags) -> Flags:
        """Tell which keys have an event that is flagged."""
        found = np.zeros(self.count, np.bool_)
        found[self.codes[flags]] = True
        return found

    def differences(self, shape: ViewShape, expected: Expected) -> dict[str, Flags]:
        """Tell per key in what its row differs; of keys without a row nothing is told."""
        seen = self.version <= self.reflected[self.codes]
        readable = self.reflected >= 0
        told = self._cells(shape, expected, np.flatnonzero(seen))
        # A state that cannot be read, or a version before all events of the key.
        told[STATE] |= ~readable | ~self.any_event(seen)
        later = self.any_event(~seen & (self.version <= expected.published))
        told["newer events"] = later & readable
        told["a version that is not there"] = self.reflected > expected.newest
        told["a write timestamp in the future"] = self._write_us() > expected.newest_us
        unfit = self.stored.column(UNFIT)
        for place in np.flatnonzero(unfit.is_valid().to_numpy()):
            for name in unfit[int(place)].as_py().split(","):
                told[name] |= self.place == place
        return told

    def _write_us(self) -> arrays.IntArray:
        return self._of_rows(self.stored.column(WRITE_US))

    def _cells(
        self, shape: ViewShape, expected: Expected, chosen: npt.NDArray[np.intp]
    ) -> dict[str, Flags]:
        """Fold every key's events up to what its row reflects, and compare column by column."""
        columns = {VALUE + feature.name: feature.name for feature in shape.features}
        columns |= {name: name for name in _SYSTEM}
        names = {column: column.removeprefix(VALUE) for column in columns}
        told = {name: np.zeros(self.count, np.bool_) for name in names.values()}
        keys, dense = np.unique(self.codes[chosen], return_inverse=True)
        if not keys.size:
            return told
        provenance = Provenance(expected.fingerprint, expected.table_id, self.reflected[keys])
        happened = self.happened.take(pa.array(chosen)).combine_chunks()
        wanted = publication.fold_keys(
            happened, dense, len(keys), shape, provenance, self._write_us()[keys]
        )
        hashes = [state_hash(state) for state in wanted.column(STATE).to_pylist()]
        place = wanted.column_names.index(STATE)
        wanted = wanted.set_column(place, STATE, pa.array(hashes, pa.binary()))
        found = self.stored.take(pa.array(self.place[keys])).combine_chunks()
        for column, folded in columns.items():
            differ = _differ(arrays.chunk(found, column), arrays.chunk(wanted, folded))
            told[names[column]][keys] = differ
        return told


def _differ(found: pa.Array, wanted: pa.Array) -> Flags:
    """Tell which cells differ; numbers with a binary point by their bits."""
    wanted = wanted.cast(found.type)
    if pa.types.is_floating(found.type):
        same = _bits(found) == _bits(wanted)
    else:
        equal = pc.fill_null(pc.equal(found, wanted), True)
        same = equal.to_numpy(zero_copy_only=False).astype(np.bool_)
    null: Flags = found.is_null().to_numpy(zero_copy_only=False)
    differ: Flags = ~same | (null != wanted.is_null().to_numpy(zero_copy_only=False))
    return differ


def _bits(column: pa.Array) -> npt.NDArray[Any]:
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    bits: npt.NDArray[Any] = values.view(f"i{values.itemsize}")
    return bits
