"""Read an events table's Parquet files in the workers, without Spark between file and Arrow.

Spark decodes every column of every row before anything can be left out; where a tenth of the rows
is wanted, most of that is for nothing. It is done only where the files say the same as the table
does: files on a file system that workers see as a folder, no deletion vectors, no column mapping,
and columns that stand in the files as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.lake import events, tables

_ROWS_AT_ONCE = 1 << 20
# Features of a table by which a file's rows or columns are others than the table's.
_HIDING = {"deletionVectors", "columnMapping"}


@dataclass(frozen=True)
class DirectFiles:
    """Accepted events in files.

    Attributes:
        parts: Pieces to read one by one: a file, and the number of a row group.
        version: Events of a greater ingest version do not count.
    """

    parts: Sequence[tuple[str, int]]
    version: int

    def read(self, number: int, of: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read every ``of``-th piece from ``number`` on, some rows at a time.

        Args:
            number: Which task this is.
            of: How many tasks there are.
            columns: Columns of the table.
        """
        for path, group in self.parts[number::of]:
            with pq.ParquetFile(path, memory_map=True) as file:
                there = set(file.schema_arrow.names)
                listed = [name for name in [*columns, "_version"] if name in there]
                for batch in file.iter_batches(
                    _ROWS_AT_ONCE, row_groups=[group], columns=list(dict.fromkeys(listed))
                ):
                    yield self._counted(pa.Table.from_batches([batch]))

    def _counted(self, rows: pa.Table) -> pa.Table:
        version = rows.column("_version")
        if pc.max(version).as_py() <= self.version:
            return rows
        return rows.filter(pc.less_equal(version, self.version))


def task_numbers(spark: SparkSession, tasks: int) -> DataFrame:
    """Give each task its number, as one row."""
    return spark.range(0, tasks, 1, numPartitions=tasks)


def numbers_in(batches: Iterable[pa.RecordBatch]) -> list[int]:
    """Give the numbers that a task was given."""
    return [number for batch in batches for number in batch.column(0).to_pylist()]


def direct_files(
    spark: SparkSession, path: Path, source: Source, version: int, columns: Sequence[str]
) -> DirectFiles | None:
    """Find the files of accepted events, if their columns can be read directly.

    Args:
        spark: The session.
        path: The events table.
        source: Its source.
        version: Up to which ingest version.
        columns: Columns that are wanted, beside those of twinlake itself.
    """
    if source.where is not None or not set(columns) <= set(raw_columns(source)):
        return None
    detail = spark.sql(f"DESCRIBE DETAIL {tables.at(path)}").select("tableFeatures").first()
    if detail is None or _HIDING & set(detail.tableFeatures or ()):
        return None
    frame = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    parts = []
    for uri in sorted(frame.inputFiles()):
        place = urlsplit(uri)
        if place.scheme not in {"", "file"}:
            return None
        file = unquote(place.path)
        parts += [(file, group) for group in range(pq.read_metadata(file).num_row_groups)]
    return DirectFiles(tuple(parts), version)
