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

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.lake import events, tables

IntArray = npt.NDArray[np.int64]

# Where a row stands: the number of its part, and of itself there.
PLACE = "_place"
_ROW_BITS = 32
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

        Returns:
            The columns that the files have, and ``_place``: what ``take`` finds a row by.
        """
        for part in range(number, len(self.parts), of):
            for first, rows in self._pieces(part, [*columns, "_version"]):
                place = first + np.arange(rows.num_rows, dtype=np.int64)
                yield self._counted(rows.append_column(PLACE, pa.array(place)))

    def take(
        self, number: int, of: int, columns: Sequence[str], places: IntArray
    ) -> Iterator[tuple[slice, pa.Table]]:
        """Take rows out of every ``of``-th piece from ``number`` on.

        Args:
            number: Which task this is.
            of: How many tasks there are.
            columns: Columns of the table.
            places: Of the rows wanted, in all pieces; ascending.

        Returns:
            Some rows at a time: which of the places they are of, and the columns that are there.
        """
        for part in range(number, len(self.parts), of):
            low, high = np.searchsorted(places, [part << _ROW_BITS, (part + 1) << _ROW_BITS])
            if low == high:
                continue
            for first, rows in self._pieces(part, columns):
                low, high = np.searchsorted(places, [first, first + rows.num_rows])
                if low < high:
                    yield slice(low, high), rows.take(pa.array(places[low:high] - first))

    def _pieces(self, part: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """Read a part, some rows at a time, each time with the place of the first."""
        path, group = self.parts[part]
        with pq.ParquetFile(path, memory_map=True) as file:
            there = set(file.schema_arrow.names)
            listed = list(dict.fromkeys(name for name in columns if name in there))
            row = 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=listed):
                yield (part << _ROW_BITS) + row, pa.Table.from_batches([batch])
                row += batch.num_rows

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
    if _HIDING & tables.features_for_readers(spark, path):
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
