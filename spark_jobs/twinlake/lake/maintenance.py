"""OPTIMIZE and VACUUM of Delta tables, beside whoever writes to them.

Statements run in a session of their own on the same Spark: what a session committed last is asked
of it by others, and what is switched off for a VACUUM must not stay off for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from delta.exceptions import (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentTransactionException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
)
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from twinlake.errors import InputError, StateError
from twinlake.lake import tables
from twinlake.lake.failures import innermost, is_of_the_machine

# Delta's own setting, by which its users say that nothing else uses a table.
RETENTION_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
# What the first of them stands for in Java; in Python none is a kind of another.
_CONFLICTS = (
    DeltaConcurrentModificationException,
    ConcurrentWriteException,
    ConcurrentAppendException,
    ConcurrentDeleteReadException,
    ConcurrentDeleteDeleteException,
    ConcurrentTransactionException,
)
# A VACUUM lists files by as many tasks as this, 10,000 by default, however few there are.
_LISTING = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
_TRIES = 3
_LOOKED_BACK = 20


@dataclass(frozen=True, slots=True)
class Optimized:
    """What OPTIMIZE did: files that were replaced, by how many, and how many there are now."""

    replaced: int
    made: int
    files: int


def is_retention_checked(spark: SparkSession) -> bool:
    """Tell whether Delta refuses a VACUUM of files that somebody may still need."""
    return str(spark.conf.get(RETENTION_CHECK, "true")).lower() != "false"


def optimize(spark: SparkSession, path: Path) -> Optimized:
    """Put a table's small files together; its rows stay what they are.

    Raises:
        StateError: Another process rewrote the same files, each time that it was tried.
    """
    apart = spark.newSession()
    for _ in range(_TRIES):
        try:
            (done,) = apart.sql(f"OPTIMIZE {tables.at(path)}").select("metrics.*").collect()
        except _CONFLICTS:
            continue  # who appends is no conflict; who rewrites or deletes is, and is done by now
        files = apart.sql(f"DESCRIBE DETAIL {tables.at(path)}").select("numFiles").collect()
        return Optimized(done.numFilesRemoved, done.numFilesAdded, files[0].numFiles)
    raise StateError(
        f"another process rewrote files of {path} each of {_TRIES} times that it was optimized",
        hint="run the command again once that process is done",
    )


def vacuum(spark: SparkSession, path: Path, days: int) -> int:
    """Remove files that no version of the last days needs; give how many.

    Raises:
        InputError: The table keeps removed files for longer than that.
    """
    apart = spark.newSession()
    apart.conf.set(RETENTION_CHECK, str(is_retention_checked(spark)).lower())
    apart.conf.set(_LISTING, str(4 * spark.sparkContext.defaultParallelism))
    before = _newest(apart, path)
    try:
        apart.sql(f"VACUUM {tables.at(path)} RETAIN {days * 24} HOURS").collect()
    except PySparkException as error:
        if is_of_the_machine(error) or "retention" not in str(error):
            raise
        raise InputError(
            f"{path} is not vacuumed to {days} days: {innermost(error)}",
            hint="give --vacuum as many days as delta.deletedFileRetentionDuration of the table",
        ) from error
    done = (
        apart.sql(f"DESCRIBE HISTORY {tables.at(path)} LIMIT {_LOOKED_BACK}")
        .where(f"version > {before} AND operation = 'VACUUM END'")
        .selectExpr("bigint(operationMetrics['numDeletedFiles']) AS files")
        .collect()
    )
    return int(done[0].files or 0) if done else 0


def _newest(spark: SparkSession, path: Path) -> int:
    return tables.newest_version(spark, path)
