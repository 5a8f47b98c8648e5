"""Pass two of the point-in-time join of plain columns: fetch the columns of the events found.

Where the events' files can be read directly, it is known where in them each event stands, and each
task takes those of its files; else Spark joins the events with what points at them.
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
from twinlake.lake.direct import DirectFiles

if TYPE_CHECKING:
    from twinlake.lake.newest_rows import Wanted

IntArray = npt.NDArray[np.int64]

SLOT, STATUS = "_slot", "_status"
# The event found, per source: the halves of its hash, and its place in files.
FOUND_A, FOUND_B, FOUND_AT = "_found_a", "_found_b", "_found_at"
_CELL = "c_"
# What only leads to the event, where there is one source.
_POINTING = {SLOT, f"{FOUND_A}0", f"{FOUND_B}0", f"{FOUND_AT}0"}


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
            per source the hash and the place of the event that answers; half of the hash is null
            where none is present.
        file: The same in a file that workers can read.
        wanted: What is taken, by source.
    """
    frame = spark.read.parquet(str(file))
    if len(wanted) > 1:
        fetched = [_fetch(frame, source, number) for number, source in enumerate(wanted)]
        return reduce(lambda left, right: left.join(right, SLOT, "left"), fetched, frame)
    (source,) = wanted
    kept = [name for name in frame.columns if name not in _POINTING]
    if source.files is None:
        pointing = frame.where(F.col(f"{FOUND_A}0").isNotNull())
        joined = _columns_of(source).join(F.broadcast(pointing), _matches(0))
        found = joined.select(*map(tables.quoted, kept), *_features(source, found=True))
    else:
        found = _fetch_directly(spark, frame, file, source, source.files, _Places.of(answers))
    without = frame.where(F.col(f"{FOUND_A}0").isNull())
    return found.unionByName(
        without.select(*map(tables.quoted, kept), *_features(source, found=False))
    )


@dataclass(frozen=True)
class _Places:
    """Where the events stand that are wanted, and the spine rows that want each.

    Attributes:
        places: Ascending; one that several rows want stands there several times.
        slots: The spine rows.
    """

    places: IntArray
    slots: IntArray

    @classmethod
    def of(cls, answers: pa.Table) -> _Places:
        found = arrays.chunk(answers, f"{FOUND_A}0").is_valid().to_numpy(zero_copy_only=False)
        slots = np.flatnonzero(found)
        places = arrays.integers(answers, f"{FOUND_AT}0")[slots]
        order = np.argsort(places)
        return cls(places[order], slots[order].astype(np.int64))


def _fetch_directly(
    spark: SparkSession,
    answers: DataFrame,
    file: Path,
    source: Wanted,
    files: DirectFiles,
    places: _Places,
) -> DataFrame:
    kept = [(name, kind) for name, kind in answers.dtypes if name not in _POINTING]
    made = [(f.name, f.type, f.column, s.name) for s in source.views for f in s.features]
    schema = [*kept, *((name, kind) for name, kind, _, _ in made)]
    names = [name for name, _ in kept]
    columns = list(dict.fromkeys(str(column) for _, _, column, _ in made))
    shared = spark.sparkContext.broadcast(places)
    tasks = max(1, min(len(files.parts), 2 * spark.sparkContext.defaultParallelism))
    several = len(source.views) > 1
    place = str(file)

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        wanted: _Places = shared.value
        held = pq.read_table(place, columns=names).combine_chunks()
        for number in direct.numbers_in(batches):
            for which, rows in files.take(number, tasks, columns, wanted.places):
                answered = held.take(pa.array(wanted.slots[which]))
                cells = _cells(rows, answered, made, several=several)
                table = pa.Table.from_arrays(
                    [*answered.columns, *cells], [*names, *(name for name, *_ in made)]
                )
                yield from table.combine_chunks().to_batches(max_chunksize=1 << 16)

    ddl = ", ".join(f"{tables.quoted(name)} {kind}" for name, kind in schema)
    return direct.task_numbers(spark, tasks).mapInArrow(of_part, ddl)


def _cells(
    rows: pa.Table,
    answered: pa.Table,
    made: Sequence[tuple[str, str, str | None, str]],
    *,
    several: bool,
) -> list[Any]:
    """Take the cells of found rows; null where one of several views has expired."""
    cells = []
    for _, kind, column, view in made:
        if column in rows.column_names:
            taken = rows.column(column).cast(arrow_type(kind))
        else:  # the file is older than the column
            taken = pa.nulls(rows.num_rows, arrow_type(kind))
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
