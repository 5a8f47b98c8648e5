"""A checkpoint says what the commits say, is there in time, and keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.spark.test_arrow_commits import append, made, table
from twinlake.lake import log_checkpoints, tables


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What was submitted; every fourth commit is due."""
    work: list[Callable[[], None]] = []
    monkeypatch.setattr(log_checkpoints, "_EVERY", 3)
    monkeypatch.setattr(log_checkpoints, "_submitted", work.append)
    return work


def test_it_is_written_beside_the_commits_not_by_them(
    spark: SparkSession, tmp_path: Path, left: list[Callable[[], None]]
) -> None:
    path = table(spark, tmp_path / "t")
    due = []
    for number in range(1, 9):
        assert append(spark, path, made(), number) == number
        due.append(len(left))
    assert due == [0, 0, 1, 1, 1, 1, 2, 2]
    assert checkpoints(path) == []
    for write in left:
        write()
    assert checkpoints(path) == [3, 7]
    for number in (1, 2, 3, 4):  # by jobs of Spark, which make commits 9 to 12
        rows = tables.read(spark, path, 8)
        tables.append(rows, path, writer="spark", number=number, metadata={})
    assert len(left) == 3


@pytest.mark.parametrize(
    ("partitioned_by", "change"),
    [
        ("", ""),
        ("kind", "SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"),
        ("", "SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"),
        ("kind", "SET TBLPROPERTIES ('delta.checkpointPolicy' = 'v2')"),
        ("", "ADD CONSTRAINT small_is CHECK (coalesce(small, 0) < 9)"),
        ("", "CLUSTER BY (at)"),
    ],
)
def test_it_says_what_the_commits_say(
    spark: SparkSession,
    tmp_path: Path,
    left: list[Callable[[], None]],
    partitioned_by: str,
    change: str,
) -> None:
    path = table(spark, tmp_path / "t", partitioned_by)
    for number in (1, 2):
        append(spark, path, made(), number)
    spark.sql(f"DELETE FROM {tables.at(path)} WHERE small >= 3")
    if change:
        spark.sql(f"ALTER TABLE {tables.at(path)} {change}")
    rows = tables.read(spark, path).where("small = 1")
    tables.append(rows, path, writer="other", number=7, metadata={})
    tables.add_columns(spark, path, [])
    told = state(spark, path)
    assert told["transactions"] == [("other", 7), ("test", 2)]
    assert checkpoints(path) == []
    assert len(left) == 1
    left[0]()
    [version] = checkpoints(path)
    forget_commits(path, version)
    assert state(spark, path) == told


def checkpoints(path: Path) -> list[int]:
    files = (path / "_delta_log").glob("*.checkpoint.*parquet")
    return sorted(int(file.name[:20]) for file in files)


def forget_commits(path: Path, version: int) -> None:
    """Take away what a checkpoint stands for: the commits before it, and all sums."""
    for file in (path / "_delta_log").glob("[0-9]*.*"):
        if file.suffix == ".crc" or (file.suffix == ".json" and int(file.stem) < version):
            file.unlink()


def state(spark: SparkSession, path: Path) -> dict[str, Any]:
    """What Delta reads of a table when it knows nothing of it yet."""
    java: Any = spark._jvm
    java.org.apache.spark.sql.delta.DeltaLog.clearCache()
    snapshot = tables.delta_log(spark, path).unsafeVolatileSnapshot()
    files = [file.json() for file in snapshot.allFiles().collectAsList()]
    said = snapshot.setTransactions()
    return {
        "files": sorted(files),
        "removed": sorted(file.json() for file in snapshot.tombstones().collectAsList()),
        "transactions": sorted(
            (said.apply(n).appId(), said.apply(n).version()) for n in range(said.size())
        ),
        "domains": snapshot.domainMetadata().size(),
        "metadata": snapshot.metadata().json(),
        "protocol": snapshot.protocol().json(),
        "rows": sorted(map(str, tables.read(spark, path).collect())),
    }
