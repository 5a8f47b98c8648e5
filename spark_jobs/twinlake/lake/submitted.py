"""The session that spark-submit made: its master, jars and settings are kept as they were given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from twinlake.errors import EnvironmentFailure
from twinlake.lake.session import SessionOptions, start

# What spark-submit tells the program that it starts: the port of its JVM.
_GATEWAY = "PYSPARK_GATEWAY_PORT"
_DELTA = "io.delta.sql.DeltaSparkSessionExtension"


def submitted_session(environ: Mapping[str, str], scratch: Path) -> SparkSession | None:
    """Give the session of a program that spark-submit runs; None when it was run by itself.

    What spark-submit was told wins; twinlake adds only settings that were left open, such as the
    time zone and Delta's extensions.

    Args:
        environ: The environment variables.
        scratch: Where Spark may spill.

    Raises:
        EnvironmentFailure: Delta is not among the jars, or Spark does not start.
    """
    if _GATEWAY not in environ:
        return None
    SparkContext._ensure_initialized()  # noqa: SLF001 (joins the JVM; what is public makes a session)
    told = dict(SparkConf().getAll())
    if not _has_delta():
        raise EnvironmentFailure(
            "spark-submit was started without the jars of Delta Lake",
            hint="give it --jars with the files that bootstrap/setup fetched, or run the script "
            "with python instead",
        )
    return start(SessionOptions(master=None, scratch=scratch, settings=told))


def _has_delta() -> bool:
    jvm = SparkContext._jvm  # noqa: SLF001 (asked before there is a session)
    if jvm is None:
        return False
    try:
        jvm.org.apache.spark.util.Utils.classForName(_DELTA, True, False)
    except Py4JJavaError:
        return False
    return True
