"""One Spark session: UTC, Delta, Arrow, servers on the loopback only, jars from files."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import current_thread, main_thread

from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from twinlake.errors import EnvironmentFailure

_TRIES = 3
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True)
class SessionOptions:
    """How to start Spark.

    Attributes:
        master: ``local[*]``, or None where spark-submit decides.
        driver_memory: Heap of the driver, which in local mode does all the work.
        jars: Jar files of Delta; empty where the cluster has them.
        java_home: The Java to start; None for the one that Spark finds.
        java_options: Further options for it.
        shuffle_partitions: Into how many parts a shuffle is cut.
        scratch: Where Spark spills and keeps its warehouse.
        settings: Further Spark settings; they win.
    """

    master: str | None = "local[*]"
    driver_memory: str = "4g"
    jars: Sequence[Path] = ()
    java_home: Path | None = None
    java_options: Sequence[str] = ()
    shuffle_partitions: int = 4
    scratch: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def start(options: SessionOptions) -> SparkSession:
    """Start Spark, or give the session that runs already.

    Raises:
        EnvironmentFailure: Java or a jar is missing, or Spark does not start.
    """
    if options.java_home is not None:
        os.environ["JAVA_HOME"] = str(options.java_home)
    # Workers take python3 from PATH unless told; it must be the interpreter that has the packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if options.master and options.master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("twinlake")
    if options.master is not None:
        builder = builder.master(_with_retries(options.master))
    for name, value in (_settings(options) | dict(options.settings)).items():
        builder = builder.config(name, value)
    try:
        with _own_interrupt(), _java_on_stderr():
            return builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise EnvironmentFailure(
            f"Spark does not start: {str(error).splitlines()[0]}",
            hint="`twinlake doctor` says what this machine lacks",
        ) from error


@contextmanager
def _java_on_stderr() -> Iterator[None]:
    """Let a Java that is started inside write to standard error what it prints.

    Standard output is for what the caller says; Delta prints what it deleted.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(_STDOUT)
    except (OSError, ValueError):  # there is none
        yield
        return
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Keep what a caller does on an interrupt; pyspark puts its own handler in its place."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        is_own = before not in (signal.default_int_handler, None)
        if is_own and current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)


def abandon(session: SparkSession) -> None:
    """Stop a session, or, where its Java is gone, forget it, so that another can be started."""
    context = session.sparkContext
    try:
        session.stop()
    except Exception:
        # pyspark keeps these per process and would go on talking to nobody.
        SparkSession._instantiatedSession = None  # noqa: SLF001
        SparkContext._active_spark_context = None  # noqa: SLF001
    gateway = SparkContext._gateway  # noqa: SLF001
    if gateway is not None and not _answers(context):
        gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001


def _answers(context: SparkContext) -> bool:
    try:
        context._gateway.jvm.System.nanoTime()  # type: ignore[union-attr]  # noqa: SLF001
    except Exception:
        return False
    return True


def _with_retries(master: str) -> str:
    """Let a task be tried again where all of Spark is one process, as it is on a cluster.

    There a task has one try unless the master says more, and a worker that dies, killed for want
    of memory perhaps, takes the whole job with it.
    """
    if re.fullmatch(r"local\[(\d+|\*)\]", master):
        return f"{master[:-1]},{_TRIES}]"
    return master


def _quoted(option: str) -> str:
    """Quote an option of Java, so that a path with a space in it stays one word."""
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _settings(options: SessionOptions) -> dict[str, str]:
    java = [
        f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}",
        "-Duser.timezone=UTC",
        "-Dderby.system.home=" + str(options.scratch or "."),
        *options.java_options,
    ]
    settings = {
        "spark.driver.memory": options.driver_memory,
        "spark.driver.extraJavaOptions": " ".join(map(_quoted, java)),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(options.shuffle_partitions),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # Files of other writers do not say which calendar they mean; today's, as everywhere.
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        # Nanoseconds come as integers and are cut to microseconds where they are read.
        "spark.sql.legacy.parquet.nanosAsLong": "true",
        # A flipped bit in a page must be an error, not another number.
        "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
        # The log of a Delta table is small; 50 tasks to read it cost 2 s each time, 2 cost 0.1 s.
        "spark.databricks.delta.snapshotPartitions": "2",
        # Rows go to the file of their partition as they come, instead of being sorted by it first.
        "spark.sql.maxConcurrentOutputFileWriters": "8",
        # Hashes never repeat; a dictionary of them is work for nothing.
        "spark.hadoop.parquet.enable.dictionary#_hash_a": "false",
        "spark.hadoop.parquet.enable.dictionary#_hash_b": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.reuse": "true",
    }
    if options.master and options.master.startswith("local"):
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if options.jars:
        settings["spark.jars"] = ",".join(str(jar) for jar in options.jars)
    if options.scratch is not None:
        settings["spark.local.dir"] = str(options.scratch / "spark")
        settings["spark.sql.warehouse.dir"] = str(options.scratch / "warehouse")
    return settings
