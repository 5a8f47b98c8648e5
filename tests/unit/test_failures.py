"""What engines say, and what the user reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinlake.errors import EnvironmentFailure, InputError, StateError
from twinlake.lake.failures import innermost, meaning
from twinlake.lake.rows import unreadable_file

STATE = Path("/data/my state")
JAVA = """An error occurred while calling o45.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 3.0 failed
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2856)
Caused by: {cause}
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
"""


def of(cause: str) -> Exception:
    return RuntimeError(JAVA.format(cause=cause))


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        ("java.io.IOException: No space left on device", EnvironmentFailure, "No space left"),
        ("java.io.IOException: File too large", EnvironmentFailure, "below /data/my state"),
        (
            "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)",
            EnvironmentFailure,
            "a Python worker of Spark died",
        ),
        (
            (
                "java.net.SocketException: Connection reset\n"
                "\tat java.base/sun.nio.ch.NioSocketImpl.implRead(NioSocketImpl.java:328)\n"
                "\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.hasNext"
            ),
            EnvironmentFailure,
            "a Python worker of Spark died",
        ),
        ("java.lang.OutOfMemoryError: Java heap space", EnvironmentFailure, "ran out of memory"),
        *(
            (
                f"org.apache.spark.api.python.PythonException: {words}",
                EnvironmentFailure,
                "a Python worker of Spark had not enough memory",
            )
            for words in (
                "MemoryError",
                "pyarrow.lib.ArrowMemoryError: malloc of size 320 failed",
                "_ArrayMemoryError: Unable to allocate 7.63 MiB for an array with shape (1000000,)",
                "ImportError: libx.so: failed to map segment from shared object",
                "OSError: [Errno 12] Cannot allocate memory",
            )
        ),
        (
            (
                "java.io.FileNotFoundException: "
                "File file:/data/my%20state/lake/events/x/part-1.parquet does not exist"
            ),
            StateError,
            "/data/my state/lake/events/x/part-1.parquet is damaged or missing",
        ),
        (
            (
                "java.lang.RuntimeException: file:/data/my%20state/lake/a/part-2.parquet is not a "
                "Parquet file. Expected magic number at tail"
            ),
            StateError,
            "/data/my state/lake/a/part-2.parquet is damaged or missing",
        ),
        (  # of a line of JSON that ends early no file is named
            (
                "org.apache.spark.SparkException: [MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] "
                "Malformed records are detected in record parsing: [null].\n"
                "\tat org.apache.spark.sql.catalyst.util.FailureSafeParser.parse\n"
                "\tat org.apache.spark.sql.execution.datasources.json.TextInputJsonDataSource$.x"
            ),
            StateError,
            "a log below /data/my state is damaged or missing",
        ),
    ],
)
def test_what_is_known_by_its_words(cause: str, kind: type[Exception], said: str) -> None:
    meant = meaning(of(cause), STATE)
    assert isinstance(meant, kind)
    assert said in meant.message
    assert meant.hint


def test_a_connection_to_somebody_else_is_no_worker() -> None:
    assert meaning(of("java.net.SocketException: Connection reset"), STATE) is None


def test_only_an_input_file_is_an_unreadable_input() -> None:
    error = RuntimeError("Encountered error while reading file file:///in/a%20b.parquet. Details:")
    assert unreadable_file(error, ["/in/c.parquet", "/in/a b.parquet"]) == "/in/a b.parquet"
    assert unreadable_file(error, ["/in/c.parquet"]) is None  # one of the lake, then


def test_what_is_not_known_stays_as_it_is() -> None:
    assert meaning(of("java.lang.ArithmeticException: / by zero"), STATE) is None
    assert meaning(InputError("No space left on device"), STATE) is None


def test_the_innermost_cause_is_one_line() -> None:
    found = innermost(of("a.B: outer\n\tat x\nCaused by: c.D: inner: most"))
    assert found == "D: inner: most"
    assert innermost(ValueError()) == "ValueError"
