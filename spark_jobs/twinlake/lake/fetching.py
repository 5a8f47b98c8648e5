"""Pass two of the point-in-time join of plain columns: fetch the columns of the events found.

Where the events' files can be read directly, each task looks the events of its files up among those
wanted and takes only their cells; else Spark joins the events with what points at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.kernel.views import PRESENT, STATUSES
from twinlake.lake import arrays, direct, tables
from twinlake.lake.arrow_types import arrow_type

if TYPE_CHECKING:
    from twinlake.lake.newest_rows import Wanted

IntArray = npt.NDArray[np.int64]

SLOT, FOUND_A, FOUND_B, STATUS = "_slot", "_found_a", "_found_b", "_status"
_CELL = "c_"


def status_of(view: str) -> str:
    """Name the column of a view's status in answers."""
    return f"{view}{STATUS}"


def fetch(
    spark: SparkSession, answers: pa.Table, file: Path, wanted: Sequence[Wanted]
) -> DataFrame:
    """Add the features to answers.

    Args:
        spark: The session.
        answers: Per spine row its number, what it holds, status and matched event of each view, and
            per source the hash of the event that answers; null where none is present.
        file: The same in a file that workers can read.
        wanted: What is taken, by source.
    """
    frame = spark.read.parquet(str(file))
    if len(wanted) > 1:
        fetched = [_fetch(frame, source, number) for number, source in enumerate(wanted)]
        return reduce(lambda left, right: left.join(right, SLOT, "left"), fetched, frame)
    (source,) = wanted
    pointers = None if source.files is None else _Pointers.of(answers)
    kept = [name for name in frame.columns if name not in {SLOT, f"{FOUND_A}0", f"{FOUND_B}0"}]
    if pointers is None:
        pointing = frame.where(F.col(f"{FOUND_A}0").isNotNull())
        joined = _columns_of(source).join(F.broadcast(pointing), _matches(0))
        found = joined.select(*map(tables.quoted, kept), *_features(source, found=True))
    else:
        found = _fetch_directly(spark, frame, file, source, pointers)
    without = frame.where(F.col(f"{FOUND_A}0").isNull())
    return found.unionByName(
        without.select(*map(tables.quoted, kept), *_features(source, found=False))
    )


@dataclass(frozen=True)
class _Pointers:
    """The events wanted, and the spine rows that want each.

    Attributes:
        hash_a, hash_b: The events, ascending by ``hash_a``, no two of which are equal.
        starts: Where in ``slots`` those of each event begin; one more than events.
        slots: Spine rows by event.
    """

    hash_a: IntArray
    hash_b: IntArray
    starts: IntArray
    slots: IntArray

    @classmethod
    def of(cls, answers: pa.Table) -> _Pointers | None:
        """Take the pointers out of answers; None where halves of hashes are not enough."""
        found = arrays.chunk(answers.combine_chunks(), f"{FOUND_A}0")
        slots = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False)).astype(np.int64)
        hash_a = found.drop_null().to_numpy(zero_copy_only=False)
        hash_b = arrays.integers(answers, f"{FOUND_B}0")[slots]
        order = np.lexsort((hash_b, hash_a))
        hash_a, hash_b, slots = hash_a[order], hash_b[order], slots[order]
        first = np.ones(len(slots), np.bool_)
        first[1:] = (hash_a[1:] != hash_a[:-1]) | (hash_b[1:] != hash_b[:-1])
        starts = np.append(np.flatnonzero(first), len(slots)).astype(np.int64)
        hash_a, hash_b = hash_a[first], hash_b[first]
        if (hash_a[1:] == hash_a[:-1]).any():
            return None
        return cls(hash_a, hash_b, starts, slots)

    def find(self, hash_a: pa.Array, hash_b: IntArray) -> tuple[IntArray, IntArray]:
        """Find wanted events among rows: the row, and the slot that it is for, pair by pair."""
        place = pc.index_in(hash_a, value_set=pa.array(self.hash_a)).fill_null(-1)
        places: IntArray = place.to_numpy(zero_copy_only=False).astype(np.int64)
        rows = np.flatnonzero(places >= 0)
        rows = rows[self.hash_b[places[rows]] == hash_b[rows]]
        event = places[rows]
        many = self.starts[event + 1] - self.starts[event]
        ends = np.cumsum(many)
        ramp = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - many, many)
        slots = self.slots[np.repeat(self.starts[event], many) + ramp]
        return np.repeat(rows, many).astype(np.int64), slots


def _fetch_directly(
    spark: SparkSession, answers: DataFrame, file: Path, source: Wanted, pointers: _Pointers
) -> DataFrame:
    files = source.files
    if files is None:
        raise ValueError("no files to read")
    kept = [
        (name, kind)
        for name, kind in answers.dtypes
        if name not in {SLOT, f"{FOUND_A}0", f"{FOUND_B}0"}
    ]
    made = [(f.name, f.type, f.column, s.name) for s in source.views for f in s.features]
    schema = [*kept, *((name, kind) for name, kind, _, _ in made)]
    names = [name for name, _ in kept]
    columns = list(dict.fromkeys(str(column) for _, _, column, _ in made))
    shared = spark.sparkContext.broadcast(pointers)
    tasks = max(1, min(len(files.parts), 2 * spark.sparkContext.defaultParallelism))
    several = len(source.views) > 1
    place = str(file)

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        wanted: _Pointers = shared.value
        held = pq.read_table(place, columns=names).combine_chunks()
        for number in direct.numbers_in(batches):
            for rows in files.read(number, tasks, ["_hash_a", "_hash_b", *columns]):
                hash_a, hash_b = arrays.chunk(rows, "_hash_a"), arrays.integers(rows, "_hash_b")
                row, slot = wanted.find(hash_a, hash_b)
                if row.size:
                    answered = held.take(pa.array(slot))
                    cells = _cells(rows, pa.array(row), answered, made, several=several)
                    table = pa.Table.from_arrays(
                        [*answered.columns, *cells], [*names, *(name for name, *_ in made)]
                    )
                    yield from table.combine_chunks().to_batches(max_chunksize=1 << 16)

    ddl = ", ".join(f"{tables.quoted(name)} {kind}" for name, kind in schema)
    return direct.task_numbers(spark, tasks).mapInArrow(of_part, ddl)


def _cells(
    rows: pa.Table,
    row: pa.Array,
    answered: pa.Table,
    made: Sequence[tuple[str, str, str | None, str]],
    *,
    several: bool,
) -> list[Any]:
    """Take the cells of found rows; null where one of several views has expired."""
    cells = []
    for _, kind, column, view in made:
        if column in rows.column_names:
            taken = rows.column(column).take(row).cast(arrow_type(kind))
        else:  # the file is older than the column
            taken = pa.nulls(len(row), arrow_type(kind))
        if several:
            is_present = pc.equal(answered.column(status_of(view)), STATUSES[PRESENT])
            taken = pc.if_else(is_present, taken, pa.scalar(None, arrow_type(kind)))
        cells.append(taken)
    return cells


def _columns_of(source: Wanted) -> DataFrame:
    names = dict.fromkeys(column for shape in source.views for column in shape.columns)
    picked = [F.col(tables.quoted(name)).alias(_CELL + name) for name in names]
    return source.events.select("_hash_a", "_hash_b", *picked)


def _matches(number: int) -> Column:
    """One integer is what the hash join goes by; the other half of the row's hash is looked at."""
    rest = F.col("_hash_b").bitwiseXOR(F.col(f"{FOUND_B}{number}")) == 0
    return (F.col("_hash_a") == F.col(f"{FOUND_A}{number}")) & rest


def _features(source: Wanted, *, found: bool) -> list[Column]:
    columns = []
    for shape in source.views:
        is_present = F.col(tables.quoted(status_of(shape.name))) == STATUSES[PRESENT]
        for feature in shape.features:
            value = F.lit(None)
            if found:
                value = F.when(is_present, F.col(tables.quoted(f"{_CELL}{feature.column}")))
            columns.append(value.cast(feature.type).alias(feature.name))
    return columns


def _fetch(answers: DataFrame, source: Wanted, number: int) -> DataFrame:
    """Fetch for one of several sources: the features by spine row, where any were found."""
    statuses = [tables.quoted(status_of(shape.name)) for shape in source.views]
    pointing = answers.where(F.col(f"{FOUND_A}{number}").isNotNull()).select(
        SLOT, f"{FOUND_A}{number}", f"{FOUND_B}{number}", *statuses
    )
    joined = _columns_of(source).join(F.broadcast(pointing), _matches(number))
    return joined.select(SLOT, *_features(source, found=True))
