"""Training sets as Delta tables: write once, count, hash, read as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.crash_points import reached
from twinlake.definitions.types import Field
from twinlake.errors import InputError
from twinlake.kernel.views import STATUSES
from twinlake.lake import tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP, overflow_column, status_column

PartHash = Callable[[pa.RecordBatch], bytes]


def write(
    spark: SparkSession, frame: DataFrame, path: Path, metadata: Mapping[str, object]
) -> None:
    """Write a training set as a new table, in one commit."""
    columns = [Field(name, kind) for name, kind in frame.dtypes]
    comment = "Training set; its receipt says what it was made from"
    tables.create(spark, path, columns, comment, skipped_by=[EVENT_TIMESTAMP])
    reached("training_set.table_made")
    tables.append(frame, path, writer="twinlake/training-set", number=1, metadata=metadata)


def status_counts(
    frame: DataFrame, features: Mapping[str, Sequence[str]], computed: Sequence[str] = ()
) -> tuple[int, dict[str, dict[str, int]]]:
    """Count what became of every feature.

    Args:
        frame: The training set.
        features: View name to the features taken from it.
        computed: Features computed on demand: what they lack is null, whatever became of inputs.

    Returns:
        Rows, and per feature its rows by status; every feature's counts sum to the rows.
    """
    wanted = [F.count("*").alias("rows")]
    bounded = {view for view in features if overflow_column(view) in frame.columns}
    for view in bounded:
        listed = F.split(F.col(tables.quoted(overflow_column(view))), ",")
        wanted += [
            F.count_if(F.array_contains(listed, name)).alias(f"{view}|{name}|over")
            for name in features[view]
        ]
    for view, names in features.items():
        status = F.col(tables.quoted(status_column(view)))
        wanted += [F.count_if(status == name).alias(f"{view}|{name}") for name in STATUSES]
        wanted += [F.count(tables.quoted(name)).alias(f"{view}|{name}|cells") for name in names]
    wanted += [F.count(tables.quoted(name)).alias(f"|{name}") for name in computed]
    counted = frame.agg(*wanted).first()
    if counted is None:
        return 0, {}
    statuses = {}
    for view, names in features.items():
        by_status = {status: counted[f"{view}|{status}"] for status in STATUSES}
        for name in names:
            cells = counted[f"{view}|{name}|cells"]
            over = {"overflow": counted[f"{view}|{name}|over"]} if view in bounded else {}
            statuses[name] = by_status | {
                "present": cells,
                "null": by_status["present"] - cells - sum(over.values()),
                **over,
            }
    for name in computed:
        cells = counted[f"|{name}"]
        statuses[name] = {"present": cells, "null": counted.rows - cells}
    return counted.rows, statuses


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
