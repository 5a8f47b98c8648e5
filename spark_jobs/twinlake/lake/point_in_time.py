"""The point-in-time join: a spine with a service's features as of each of its rows.

Where windows are wanted, events and spine go as one narrow union, cut by key, to Arrow workers,
where the kernel answers for all views of an entity in one pass. Plain columns for a spine that fits
the workers take two passes without moving events (``newest_rows``). Nothing is joined by
inequality and nothing is ranked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import all_columns
from twinlake.definitions.sources import KNOWN_AT_EVENT
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.kernel.events import Queries
from twinlake.kernel.views import MISSING, NOT_YET_KNOWN, STATUSES, ViewShape
from twinlake.lake import arrays, events, newest_rows, tables
from twinlake.lake.direct import DirectFiles, direct_files
from twinlake.lake.feature_rows import PREFIX
from twinlake.lake.fetching import status_of
from twinlake.lake.vectors import Vectors, vectors

EVENT_TIMESTAMP = "event_timestamp"
_SPINE = -1
_PAYLOAD = "p_"
# What orders events, in the frame that workers take.
_SYSTEM = ("event_us", "known_us", "hash_a", "hash_b")
# Text is guessed to be short; other cells are a few bytes.
_GUESSED_BYTES = {"string": 40, "binary": 100}


@dataclass(frozen=True)
class Taken:
    """The features that a service takes from one view.

    Attributes:
        view: The view.
        names: Its features, in the service's order.
        events_path: The events table of its source.
        version: Events up to this ingest version count.
    """

    view: FeatureView
    names: Sequence[str]
    events_path: Path
    version: int


@dataclass(frozen=True)
class Spine:
    """The rows to join features to.

    Attributes:
        frame: Join keys, ``event_timestamp`` and anything else.
        rows: How many there are.
    """

    frame: DataFrame
    rows: int


@dataclass(frozen=True)
class _WorkerView:
    """A view as workers take it.

    Attributes:
        shape: The view.
        source: The position of its source.
        slots: Where the source's columns stand in what comes: column to slot.
    """

    shape: ViewShape
    source: int
    slots: Mapping[str, str]


def status_column(view_name: str) -> str:
    """Name the column that says what became of a view in each row."""
    return f"{view_name}__status"


def matched_column(view_name: str) -> str:
    """Name the column that holds the event timestamp matched in each row."""
    return f"{view_name}__event_timestamp"


def is_matched_column(name: str) -> bool:
    """Tell whether a column of a training set, beside features, holds matched event timestamps."""
    return name.endswith(matched_column(""))


def overflow_column(view_name: str) -> str:
    """Name the column that lists the features whose value cannot be given, by comma; or null."""
    return f"{view_name}__overflow"


def marks(view: FeatureView, names: Sequence[str]) -> list[Field]:
    """Give the columns that say what became of a view in each row.

    Args:
        view: The view.
        names: Its features that are joined; some views have none that can overflow.
    """
    fields = [Field(status_column(view.name), "string")]
    fields.append(Field(matched_column(view.name), "timestamp"))
    if ViewShape.of(view, names).can_overflow:
        fields.append(Field(overflow_column(view.name), "string"))
    return fields


def join(
    spark: SparkSession, spine: Spine, taken: Sequence[Taken], parts: int, scratch: Path
) -> DataFrame:
    """Join a spine to a service's features, as of each row's ``event_timestamp``.

    A row sees events with ``e <= t`` that were known at ``t``. No spine row is merged or dropped,
    whatever its neighbours; a row with a null key gets status ``missing``.

    Args:
        spark: The session.
        spine: Join keys, ``event_timestamp`` and anything else; all of it is kept.
        taken: What to join, per view.
        parts: Into how many parts to cut the keys.
        scratch: A folder that driver and workers share; what is written there must stay until the
            result was read.

    Returns:
        The spine's columns, the features in order, and per view its status, matched event, and
        where some can overflow the names of those that do.
    """
    groups: dict[tuple[str, ...], list[Taken]] = {}
    for item in taken:
        groups.setdefault(tuple(item.view.entity.join_keys), []).append(item)
    plain = {keys for keys, items in groups.items() if all(map(_is_plain, items))}
    frame = spine.frame
    if plain and _fits(spine):
        wanted = [w for keys in groups if keys in plain for w in _wanted(spark, keys, groups[keys])]
        frame = _join_plain(spark, frame, wanted, scratch)
    else:
        plain = set()
    for keys, items in groups.items():
        if keys not in plain:
            frame = _join_entity(spark, frame, keys, items, parts)
    features = [name for item in taken for name in item.names]
    told = [field.name for item in taken for field in marks(item.view, item.names)]
    return frame.select(*(tables.quoted(n) for n in (*spine.frame.columns, *features, *told)))


def _is_plain(item: Taken) -> bool:
    return all(f.function is None for f in ViewShape.of(item.view, item.names).features)


def _fits(spine: Spine) -> bool:
    widths = [_GUESSED_BYTES.get(kind, 8) for _, kind in spine.frame.dtypes]
    return newest_rows.fits(spine.rows, spine.rows * sum(widths))


def _wanted(
    spark: SparkSession, keys: tuple[str, ...], items: list[Taken]
) -> list[newest_rows.Wanted]:
    """Gather what is taken from each source."""
    wanted = []
    for same in _by_events(items).values():
        source = same[0].view.source
        wanted.append(
            newest_rows.Wanted(
                keys,
                event_keys(same[0].view),
                [ViewShape.of(item.view, item.names) for item in same],
                _events_with_keys(spark, same[0]),
                known_is_event=source.known == KNOWN_AT_EVENT,
                files=_files(spark, same),
            )
        )
    return wanted


def _by_events(items: Sequence[Taken]) -> dict[tuple[str, tuple[str, ...]], list[Taken]]:
    """Group what is taken from the same events, found by the same of their columns."""
    groups: dict[tuple[str, tuple[str, ...]], list[Taken]] = {}
    for item in items:
        groups.setdefault((item.view.source.name, event_keys(item.view)), []).append(item)
    return groups


def _files(spark: SparkSession, items: list[Taken]) -> DirectFiles | None:
    """Find the files of one source's events, where what is taken stands in them."""
    shapes = [ViewShape.of(item.view, item.names) for item in items]
    columns = [
        *event_keys(items[0].view),
        *(column for shape in shapes for column in shape.columns),
    ]
    return direct_files(
        spark, items[0].events_path, items[0].view.source, items[0].version, columns
    )


def _join_plain(
    spark: SparkSession, spine: DataFrame, wanted: list[newest_rows.Wanted], scratch: Path
) -> DataFrame:
    batches = spine._collect_as_arrow()  # noqa: SLF001 (public from 4.0)
    table = pa.Table.from_batches(batches)
    frame = newest_rows.join(spark, table, EVENT_TIMESTAMP, wanted, scratch)
    names = {
        mark(shape.name): other(shape.name)
        for source in wanted
        for shape in source.views
        for mark, other in (
            (status_of, status_column),
            (newest_rows.matched_of, matched_column),
        )
    }
    return frame.withColumnsRenamed(names)


def _join_entity(
    spark: SparkSession, spine: DataFrame, keys: tuple[str, ...], items: list[Taken], parts: int
) -> DataFrame:
    frames = [_spine_side(spine, keys)]
    views = []
    by_events = _by_events(items)
    for position, same in enumerate(by_events.values()):
        shapes = [ViewShape.of(item.view, item.names) for item in same]
        needed = {column: kind for shape in shapes for column, kind in shape.columns.items()}
        slots = _slots(needed)
        frames.append(_event_side(spark, same[0], position, keys, slots))
        views += [_WorkerView(shape, position, slots) for shape in shapes]
    union = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
    payload = spine.columns
    # Workers answer for one source after the other, and Spark takes their columns by position.
    added = _added([item for same in by_events.values() for item in same])
    schema = [f"{tables.quoted(name)} {kind}" for name, kind in spine.dtypes]
    schema += [f"{tables.quoted(field.name)} {field.type}" for field in added]

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _answer(batches, keys, payload, views)

    return union.repartition(parts, *keys).mapInArrow(of_part, ", ".join(schema))


def _slots(columns: Mapping[str, str]) -> dict[str, str]:
    """Place columns in slots that all sources share, so that no row carries those of another."""
    taken: dict[str, int] = {}
    slots = {}
    for name, kind in columns.items():
        number = taken[kind] = taken.get(kind, -1) + 1
        slots[name] = re.sub(r"\W", "_", f"c{number}_{kind}")
    return slots


def _added(items: Sequence[Taken]) -> list[Field]:
    fields = []
    for item in items:
        shape = ViewShape.of(item.view, item.names)
        fields += [Field(feature.name, feature.type) for feature in shape.features]
        fields += marks(item.view, item.names)
    return fields


def _spine_side(spine: DataFrame, keys: Sequence[str]) -> DataFrame:
    time = F.unix_micros(EVENT_TIMESTAMP)
    return spine.select(
        *keys,
        F.lit(_SPINE).alias("side"),
        time.alias("event_us"),
        time.alias("known_us"),
        F.lit(0).cast("bigint").alias("hash_a"),
        F.lit(0).cast("bigint").alias("hash_b"),
        *(F.col(tables.quoted(name)).alias(_PAYLOAD + name) for name in spine.columns),
    )


def _events_with_keys(spark: SparkSession, item: Taken) -> DataFrame:
    frame = events.accepted(spark, item.events_path, item.view.source, item.version)
    for key in event_keys(item.view):
        frame = frame.where(F.col(key).isNotNull())
    return frame


def _event_side(
    spark: SparkSession, item: Taken, position: int, keys: Sequence[str], slots: Mapping[str, str]
) -> DataFrame:
    named = zip(event_keys(item.view), keys, strict=True)
    return _events_with_keys(spark, item).select(
        *(F.col(tables.quoted(own)).alias(key) for own, key in named),
        F.lit(position).alias("side"),
        F.unix_micros("_event_timestamp").alias("event_us"),
        F.unix_micros("_known_timestamp").alias("known_us"),
        F.col("_hash_a").alias("hash_a"),
        F.col("_hash_b").alias("hash_b"),
        *(F.col(tables.quoted(name)).alias(slot) for name, slot in slots.items()),
    )


def _answer(
    batches: Iterable[pa.RecordBatch],
    keys: Sequence[str],
    payload: Sequence[str],
    views: Sequence[_WorkerView],
) -> Iterator[pa.RecordBatch]:
    """Answer for the spine rows of one part."""
    table = arrays.gather(batches)
    if table is None:
        return
    codes, count = arrays.key_codes(table, keys)
    side = arrays.integers(table, "side")
    asked = np.flatnonzero(side == _SPINE)
    if not len(asked):
        return
    # Questions in the order of what they are looked up in find it in the processor's cache.
    asked = asked[np.lexsort((arrays.integers(table, "event_us")[asked], codes[asked]))]
    spine = table.take(pa.array(asked)).combine_chunks()
    queries = Queries.at(codes[asked], arrays.integers(spine, "event_us"))
    out = [arrays.chunk(spine, _PAYLOAD + name) for name in payload]
    names = list(payload)
    for position in sorted({view.source for view in views}):
        of_source = [view for view in views if view.source == position]
        slots = of_source[0].slots
        columns = {name: PREFIX + name for name in slots}
        chosen = np.flatnonzero(side == position)
        rows = table.select([*_SYSTEM, *slots.values()]).take(pa.array(chosen)).combine_chunks()
        rows = rows.rename_columns([*_SYSTEM, *columns.values()])
        happened, rows = arrays.sorted_events(rows, codes[chosen], count, columns)
        for view in of_source:
            found = vectors(happened, rows, queries, view.shape, PREFIX)
            out += [*found.columns, arrays.status_names(found.status, STATUSES)]
            matched = arrays.instants(found.event_us)
            out.append(_null_where(matched, np.isin(found.status, (MISSING, NOT_YET_KNOWN))))
            names += [feature.name for feature in view.shape.features]
            names += [status_column(view.shape.name), matched_column(view.shape.name)]
            if view.shape.can_overflow:
                out.append(_overflowing(found, view.shape))
                names.append(overflow_column(view.shape.name))
    yield from pa.Table.from_arrays(out, names).to_batches(max_chunksize=65_536)


def _overflowing(found: Vectors, shape: ViewShape) -> pa.Array:
    """List per row the features that are overflow, by comma; null where none is."""
    told: list[str | None] = [None] * len(found.status)
    for feature, where in zip(shape.features, found.overflow, strict=True):
        for row in np.flatnonzero(where) if where is not None else ():
            before = told[row]
            told[row] = feature.name if before is None else f"{before},{feature.name}"
    return pa.array(told, pa.string())


def _null_where(array: pa.Array, absent: npt.NDArray[np.bool_]) -> pa.Array:
    rows = np.arange(len(array), dtype=np.int64)
    return arrays.take(array, np.where(absent, -1, rows))


def key_types(view: FeatureView) -> dict[str, str]:
    """Give the types that a spine's key columns must have for a view."""
    types = all_columns(view.source)
    named = zip(view.entity.join_keys, event_keys(view), strict=True)
    return {name: types[own] for name, own in named}


def event_keys(view: FeatureView) -> tuple[str, ...]:
    """Name the columns of a view's source that hold its keys, in the order of its join keys."""
    return tuple(view.stored.entity.join_keys)
