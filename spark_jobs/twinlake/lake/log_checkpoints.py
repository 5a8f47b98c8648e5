"""Checkpoints of Delta's logs, written beside whoever commits and not by them.

A checkpoint sums a log up, so that readers need not read its commits one by one. Delta has the
writer of every so many commits wait for it, which also computes the table's whole state anew by
jobs of Spark: seconds, for a stream of which each batch takes one. Nothing depends on when it is
there, for it says what the commits say; so tables ask Delta for none, and a thread has delta-rs
write them, which takes some hundredths of a second and none of the stream's cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

# What a table says so that Delta asks nobody to wait.
NEVER_BY_DELTA: Final = {"delta.checkpointInterval": str(2**31 - 1)}
# Readers list the log either way, and few of them read fifty small commits.
_EVERY: Final = 50
_LOCK: Final = threading.Lock()
_writer: list[ThreadPoolExecutor] = []
# Through which version this process summed a log up, or is about to: a session that only adds to a
# log does not look for checkpoints of it again.
_summed: dict[Path, int] = {}


def write_if_due(
    spark: SparkSession,
    path: Path,
    snapshot: Any,  # noqa: ANN401 (an object of Java)
    version: int,
) -> None:
    """Begin to write a checkpoint where many commits came after the one before.

    A process that ends waits for it.

    Args:
        spark: The session.
        path: The table.
        snapshot: One of Delta's snapshots of it, not older than the commit by much.
        version: What was committed.
    """
    with _LOCK:
        summed = _summed.get(path, -1)
        if summed > version:  # the table was made anew
            summed = -1
        if version - max(int(snapshot.checkpointProvider().version()), summed) <= _EVERY:
            return
        _summed[path] = version
    _submitted(lambda: _write(spark, path, snapshot.deltaLog(), version))


def _submitted(work: Callable[[], None]) -> None:
    with _LOCK:
        if not _writer:  # one at a time: two would take all cores from the stream
            _writer.append(ThreadPoolExecutor(1, thread_name_prefix="log-checkpoint"))
    _writer[0].submit(work)


def _write(
    spark: SparkSession,
    path: Path,
    log: Any,  # noqa: ANN401 (an object of Java)
    version: int,
) -> None:
    from deltalake import DeltaTable  # a tenth of a second, for who makes many commits
    from deltalake.exceptions import DeltaError

    # The log is whole without one that cannot be written, and the next one is due soon.
    with suppress(DeltaError, OSError):
        DeltaTable(str(path), version=version).create_checkpoint()
    with suppress(Py4JError):  # a JVM that ends
        java: Any = spark._jvm  # noqa: SLF001 (Delta's logs are Java's only)
        none = java.scala.Option.empty()
        # Another snapshot than the one that commits begin from: its locks are its own.
        log.doLogCleanup(log.getSnapshotAt(version, none, none))
