"""Training sets as Delta tables: write once, count, hash, read as Arrow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from twinlake.crash_points import reached
from twinlake.definitions.types import Field
from twinlake.errors import InputError, StateError
from twinlake.kernel.views import STATUSES
from twinlake.lake import tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP, overflow_column, status_column

PartHash = Callable[[pa.RecordBatch], bytes]
# What is counted of rows, as no view and no feature is named.
_ROWS, _CELLS, _OVER = "|rows", "|cells|", "|over|"


def write(
    spark: SparkSession, frame: DataFrame, path: Path, metadata: Mapping[str, object]
) -> None:
    """Write a training set as a new table, in one commit."""
    columns = [Field(name, kind) for name, kind in frame.dtypes]
    comment = "Training set; its receipt says what it was made from"
    tables.create(spark, path, columns, comment, skipped_by=[EVENT_TIMESTAMP])
    reached("training_set.table_made")
    tables.append(frame, path, writer="twinlake/training-set", number=1, metadata=metadata)


@dataclass(frozen=True)
class Taken:
    """What a training set takes from where.

    Attributes:
        features: View name to the features taken from it.
        computed: Features computed on demand: what they lack is null, whatever became of inputs.
    """

    features: Mapping[str, Sequence[str]]
    computed: Sequence[str] = ()


def measure(
    frame: DataFrame, taken: Taken, hash_part: PartHash
) -> tuple[list[bytes], dict[str, dict[str, int]]]:
    """Hash a training set and count what became of every feature, in one pass by the workers.

    Args:
        frame: The training set.
        taken: Its features.
        hash_part: Hashes some of its rows.

    Returns:
        The hashes of its parts, and per feature its rows by status; they sum to all rows.
    """

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                told = json.dumps(count_part(batch, taken))
                yield pa.RecordBatch.from_arrays(
                    [pa.array([hash_part(batch)]), pa.array([told])], ["part", "counts"]
                )

    rows = frame.mapInArrow(of_part, "part binary, counts string").collect()
    counted: Counter[str] = Counter()
    for row in rows:
        counted.update(json.loads(row.counts))
    bounded = {view for view in taken.features if overflow_column(view) in frame.columns}
    return [bytes(row.part) for row in rows], statuses_of(counted, taken, bounded)


def count_part(batch: pa.RecordBatch, taken: Taken) -> Counter[str]:
    """Count some rows: ``rows``, per feature its cells, per view its statuses and overflows."""
    counted = Counter({_ROWS: batch.num_rows})
    names = [*taken.computed, *(name for names in taken.features.values() for name in names)]
    for name in names:
        counted[_CELLS + name] = batch.num_rows - batch.column(name).null_count
    for view in taken.features:
        counted += _tally(f"{view}|", batch.column(status_column(view)))
        if overflow_column(view) in batch.schema.names:
            listed = pc.split_pattern(batch.column(overflow_column(view)), ",")
            counted += _tally(_OVER, listed.flatten())
    return counted


def _tally(prefix: str, column: pa.Array) -> Counter[str]:
    found = column.drop_null().value_counts().to_pylist()
    return Counter({prefix + each["values"]: each["counts"] for each in found})


def statuses_of(
    counted: Mapping[str, int], taken: Taken, bounded: set[str]
) -> dict[str, dict[str, int]]:
    """Give every feature's rows by status.

    Args:
        counted: The sum of what ``count_part`` gave.
        taken: The features.
        bounded: Views that tell of features whose value cannot be given.
    """
    statuses = {}
    for view, names in taken.features.items():
        by_status = {status: counted.get(f"{view}|{status}", 0) for status in STATUSES}
        for name in names:
            cells = counted.get(_CELLS + name, 0)
            over = {"overflow": counted.get(_OVER + name, 0)} if view in bounded else {}
            statuses[name] = by_status | {
                "present": cells,
                "null": by_status["present"] - cells - sum(over.values()),
                **over,
            }
    for name in taken.computed:
        cells = counted.get(_CELLS + name, 0)
        statuses[name] = {"present": cells, "null": counted.get(_ROWS, 0) - cells}
    return statuses


def part_hashes(frame: DataFrame, hash_part: PartHash) -> list[bytes]:
    """Hash a frame batch by batch in the workers; a few bytes for each come back."""

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays([pa.array([hash_part(batch)])], ["part"])

    return [bytes(row.part) for row in frame.mapInArrow(of_part, "part binary").collect()]


def read_arrow(
    spark: SparkSession, path: Path, version: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a training set into Arrow, from the files of one version, without a pass through Spark.

    Training sets are only ever appended to, so their files hold just their rows.
    """
    table = _dataset(tables.read(spark, path, version))
    return table.to_table(columns=None if columns is None else list(columns))


def read_some(spark: SparkSession, path: Path, columns: Sequence[str], most: int) -> pa.Table:
    """Read some columns of at most so many rows of a training set, evenly out of all of it.

    Raises:
        StateError: A column is not there, or there is no row.
    """
    found = _dataset(tables.read(spark, path))
    if lacking := [name for name in columns if name not in found.schema.names]:
        raise StateError(f"the training set at {path} has no column {', '.join(lacking)}")
    rows = found.count_rows()
    if not rows:
        raise StateError(f"the training set at {path} has no row")
    every, at, taken = -(-rows // most), 0, []
    for batch in found.to_batches(columns=list(columns)):
        wanted = np.arange(-at % every, batch.num_rows, every)
        taken.append(batch.take(pa.array(wanted)))
        at += batch.num_rows
    return pa.Table.from_batches(taken)


def read_batches(spark: SparkSession, path: Path, version: int) -> pa.RecordBatchReader:
    """Read all columns of a training set like ``read_arrow``, batch by batch."""
    return _dataset(tables.read(spark, path, version)).scanner().to_reader()


def write_parquet(frame: DataFrame, out: Path) -> None:
    """Write a training set that was read to one Parquet file.

    Raises:
        InputError: There is no writing there.
    """
    table = _dataset(frame).to_table()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", hint="choose another --out"
        ) from error


def _dataset(frame: DataFrame) -> ds.Dataset:
    files = [unquote(urlsplit(name).path) for name in frame.inputFiles()]
    return ds.dataset(sorted(files), format="parquet")
