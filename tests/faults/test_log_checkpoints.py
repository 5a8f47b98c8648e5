"""Who writes a checkpoint of a table's log dies meanwhile: the table is what it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from tests.spark.test_arrow_commits import append, made, table
from tests.spark.test_log_checkpoints import checkpoints, forget_commits, state

COMMITS = 12
# Dies of the file that it writes as soon as that has more bytes than it may have.
WRITER = """
import resource, signal, sys
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1], version=int(sys.argv[2]))
limit = int(sys.argv[3])
if limit >= 0:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
table.create_checkpoint()
"""


def write(path: Path, version: int, limit: int = -1) -> int:
    """Write a checkpoint in a process of its own; how that ends."""
    command = [sys.executable, "-c", WRITER, str(path), str(version), str(limit)]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_a_death_while_it_is_written_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    path = table(spark, tmp_path / "t", "kind")
    for number in range(1, COMMITS + 1):
        append(spark, path, made(), number)
    told = state(spark, path)
    for number, limit in enumerate((0, 100, 4_096, 12_000)):
        assert write(path, COMMITS - number, limit) == -signal.SIGXFSZ
        assert state(spark, path) == told
    assert checkpoints(path) == []
    assert write(path, COMMITS) == 0
    forget_commits(path, COMMITS)
    assert state(spark, path) == told
    assert append(spark, path, made(), COMMITS + 1) == COMMITS + 1


def test_one_that_nothing_points_to_is_found(spark: SparkSession, tmp_path: Path) -> None:
    path = table(spark, tmp_path / "t")
    for number in range(1, COMMITS + 1):
        append(spark, path, made(), number)
    told = state(spark, path)
    assert write(path, COMMITS) == 0
    (path / "_delta_log" / "_last_checkpoint").unlink()
    assert state(spark, path) == told
    forget_commits(path, COMMITS)
    assert state(spark, path) == told
