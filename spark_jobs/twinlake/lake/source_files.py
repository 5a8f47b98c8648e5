"""The user's own files of a source: which of them hold rows of a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.sources import Source
from twinlake.lake import forgotten, rows


def holding(
    spark: SparkSession,
    source: Source,
    paths: Sequence[str],
    file_format: str,
    kinds: Mapping[str, str],
    values: Sequence[str],
) -> list[str]:
    """Name the files that hold rows of a key.

    Args:
        spark: The session.
        source: The source.
        paths: Its files.
        file_format: ``parquet`` or ``csv``.
        kinds: The join keys: name to type.
        values: The parts of the key as the ledger writes them.
    """
    frame = rows.read_files(spark, source, paths, file_format)
    frame = frame.where(forgotten.is_of_key(source, kinds, values))
    return sorted(row[0] for row in frame.select(F.col(rows.ORIGIN)).distinct().collect())
