"""One Spark session for the whole lane: starting one costs more than most tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.spark.benches import Bench
from twinlake.java import find_java, jar_files, jars_folder
from twinlake.lake.session import SessionOptions, start

# Hundreds of small jobs, each seen once: compiling them well costs more than it gives.
# With one level of them Java keeps 48 MB of compiled code, and then forgets and compiles again.
FOR_SHORT_LIVES = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:ReservedCodeCacheSize=256m",
)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    java = find_java(os.environ)
    session = start(
        SessionOptions(
            master="local[2]",
            driver_memory="1500m",
            jars=jar_files(jars_folder(os.environ)),
            java_home=java.home,
            java_options=(*java.options, *FOR_SHORT_LIVES),
            shuffle_partitions=2,
            scratch=tmp_path_factory.mktemp("scratch"),
            settings={"spark.databricks.delta.snapshotPartitions": "1"},
        )
    )
    yield session
    session.stop()


@pytest.fixture
def bench(spark: SparkSession, tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, spark) as made:
        yield made


@pytest.fixture(scope="module")
def module_bench(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Bench]]:
    """Make benches that the tests of one module share and only read."""
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(tmp_path_factory.mktemp("bench"), spark))
        return made[-1]

    yield make
    for one in made:
        one.close()
