"""Who writes a checkpoint of a table's log dies meanwhile: the table is what it was."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from tests.spark.test_arrow_commits import append, made, table
from tests.spark.test_log_checkpoints import checkpoints, forget_commits, state

COMMITS, KILLS = 12, 40
# Says that it is about to write, and writes again and again.
WRITER = """
import sys
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1], version=int(sys.argv[2]))
print("ready", flush=True)
while True:
    table.create_checkpoint()
"""


def test_a_death_while_it_is_written_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    path = table(spark, tmp_path / "t", "kind")
    for number in range(1, COMMITS + 1):
        append(spark, path, made(), number)
    told, chance, left = state(spark, path), random.Random(5), 0
    for kill in range(KILLS):
        version = COMMITS - kill % 3
        command = [sys.executable, "-c", WRITER, str(path), str(version)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
        left += len([f for f in (path / "_delta_log").iterdir() if "#" in f.name])
        if kill % 10 == 9:
            assert state(spark, path) == told
    assert left, "no kill fell into a write"
    forget_commits(path, checkpoints(path)[-1])
    assert state(spark, path) == told
    assert append(spark, path, made(), COMMITS + 1) == COMMITS + 1


def test_one_that_nothing_points_to_is_found(spark: SparkSession, tmp_path: Path) -> None:
    path = table(spark, tmp_path / "t")
    for number in range(1, COMMITS + 1):
        append(spark, path, made(), number)
    told = state(spark, path)
    subprocess.run(
        [sys.executable, "-c", WRITER.replace("while True", "if True"), str(path), str(COMMITS)],
        check=True,
        capture_output=True,
    )
    (path / "_delta_log" / "_last_checkpoint").unlink()
    assert state(spark, path) == told
    forget_commits(path, COMMITS)
    assert state(spark, path) == told
