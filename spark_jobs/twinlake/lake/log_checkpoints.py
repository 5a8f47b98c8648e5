"""Checkpoints of Delta's logs, written beside a stream instead of between its batches.

A checkpoint sums a log up so that readers need not list its commits. Delta writes one right after
every so many commits and has the writer wait for it, seconds for a stream of which each batch takes
one. Nothing depends on when it is there: it says what the commits say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from twinlake.lake.tables import delta_log

_INTERVAL: Final = "delta.checkpointInterval"
_EVERY: Final = 10  # where a table does not say: what Delta takes then
_LOCK: Final = threading.Lock()
_writer: list[ThreadPoolExecutor] = []


def leave_out(spark: SparkSession, transaction: Any) -> None:  # noqa: ANN401 (an object of Java)
    """Have a transaction end without a checkpoint, however many commits there are by then."""
    java: Any = spark._jvm  # noqa: SLF001 (Delta's transactions are Java's only)
    hook = getattr(java.org.apache.spark.sql.delta.hooks, "CheckpointHook$")
    getattr(transaction.postCommitHooks(), "$minus$eq")(getattr(hook, "MODULE$"))


def write_if_due(
    spark: SparkSession, path: Path, version: int, configuration: dict[str, str]
) -> Future[None] | None:
    """Begin to write a checkpoint where a commit is one after which Delta would.

    Args:
        spark: The session.
        path: The table.
        version: What was committed.
        configuration: The table's properties.

    Returns:
        What is done when it is written, or could not be; None where none is due. A process that
        ends waits for it.
    """
    if version == 0 or version % int(configuration.get(_INTERVAL, _EVERY)):
        return None
    return _submitted(lambda: _write(spark, path))


def _submitted(work: Callable[[], None]) -> Future[None]:
    with _LOCK:
        if not _writer:  # one at a time: two would take all cores from the stream
            _writer.append(ThreadPoolExecutor(1, thread_name_prefix="log-checkpoint"))
    return _writer[0].submit(work)


def _write(spark: SparkSession, path: Path) -> None:
    # Delta itself makes a warning of one that cannot be written: the log is whole without it, and
    # the next one is due soon. What is left is a JVM that ends.
    with suppress(Py4JError, OSError):
        delta_log(spark, path).checkpoint()
