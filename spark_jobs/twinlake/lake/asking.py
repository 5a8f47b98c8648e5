"""Let Spark's workers ask somebody about rows that are at the driver."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

# The row that an answer is of.
NUMBER = "_number"
Ask = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def numbered(rows: pa.Table) -> pa.Table:
    """Number rows, so that answers find back."""
    return rows.append_column(NUMBER, pa.array(range(len(rows)), pa.int64()))


def by_workers(
    spark: SparkSession, rows: pa.Table, ask: Ask, schema: str, tasks: int, scratch: Path
) -> pa.Table:
    """Have rows asked about by workers.

    Args:
        spark: The session.
        rows: What ``numbered`` gave.
        ask: Runs in a worker: takes some of the rows, and gives answers with their ``_number``.
        schema: The columns of the answers, as Spark SQL writes them.
        tasks: Among how many tasks the rows are shared.
        scratch: A folder that driver and workers share.

    Returns:
        The answers, in the order of the rows.
    """
    # By way of a file: handing rows to Spark as Python objects takes longer than asking.
    file = scratch / f"{uuid.uuid4().hex}.parquet"
    try:
        pq.write_table(rows, file, compression="lz4", store_schema=False)
        frame = spark.read.parquet(str(file)).repartition(tasks)
        batches = frame.mapInArrow(ask, schema)._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    finally:
        file.unlink(missing_ok=True)
    return pa.Table.from_batches(batches).sort_by(NUMBER).combine_chunks()
